// SPDX-License-Identifier: Apache-2.0

package findings

import (
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
)

// Query yields facts about the table users, its database and this session: a topic, a name, and details whose meaning depends on
// the topic. It reads only the catalog: no row, and it takes no lock that a login could wait for.
var Query = `
WITH t AS (SELECT c.*, n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = pg_catalog.to_regclass('` + schema.Users + `')::oid)
SELECT 'relation', t.relkind::text, ARRAY[t.relpersistence::text, pg_catalog.row_security_active(t.oid)::text,
       (t.relreplident = 'n' OR (t.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index WHERE indrelid = t.oid AND indisprimary)))::text,
       (EXISTS (SELECT FROM pg_catalog.pg_publication_tables pt JOIN pg_catalog.pg_publication p ON p.pubname = pt.pubname
           WHERE pt.schemaname = t.nspname AND pt.tablename = t.relname AND (p.pubupdate OR p.pubdelete)))::text,
       pg_catalog.quote_ident(current_user)]
FROM t
UNION ALL
SELECT 'column', a.attname::text, ARRAY[b.typname::text, (b.typnamespace = 'pg_catalog'::regnamespace::oid)::text,
       (CASE WHEN y.typtype = 'd' THEN y.typtypmod ELSE a.atttypmod END)::text,
       pg_catalog.format_type(a.atttypid, a.atttypmod), (a.attnotnull OR y.typnotnull)::text,
       (a.atthasdef OR a.attidentity <> '' OR y.typdefault IS NOT NULL)::text, (a.attgenerated <> '' OR a.attidentity = 'a')::text,
       (y.typtype = 'd')::text, COALESCE(l.collisdeterministic, true)::text]
FROM t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
JOIN pg_catalog.pg_type b ON b.oid = CASE WHEN y.typtype = 'd' THEN y.typbasetype ELSE y.oid END
LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
UNION ALL
SELECT 'unique', i.indexrelid::regclass::text, ARRAY[
       (i.indnkeyatts = 1 AND COALESCE(a.attname, '') = 'username' AND i.indpred IS NULL)::text,
       (i.indisvalid AND i.indisready)::text, i.indimmediate::text,
       (i.indnkeyatts = 1 AND (COALESCE(a.attidentity, '') <> '' OR COALESCE(pg_catalog.pg_get_expr(d.adbin, d.adrelid), '') ~ 'nextval|uuid'))::text,
       (i.indkey[0] = 0 OR 0 = ANY (i.indkey::smallint[]))::text]
FROM t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid AND i.indisunique
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
UNION ALL
SELECT 'constraint', c.conname::text, ARRAY[c.contype::text, (c.conrelid = t.oid)::text,
       CASE WHEN c.conrelid = t.oid AND c.contype = 'f' THEN c.confrelid::regclass::text ELSE c.conrelid::regclass::text END, c.confdeltype::text]
FROM t JOIN pg_catalog.pg_constraint c ON c.contype IN ('c', 'f', 'x') AND (c.conrelid = t.oid OR (c.contype = 'f' AND c.confrelid = t.oid))
UNION ALL
SELECT 'trigger', g.tgname::text, ARRAY[g.tgtype::text]
FROM t JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal AND g.tgenabled <> 'D'
UNION ALL
SELECT 'rule', r.rulename::text, ARRAY[CASE r.ev_type WHEN '2' THEN 'UPDATE' WHEN '3' THEN 'INSERT' WHEN '4' THEN 'DELETE' ELSE 'SELECT' END]
FROM t JOIN pg_catalog.pg_rewrite r ON r.ev_class = t.oid AND r.rulename <> '_RETURN' AND r.ev_enabled <> 'D'
UNION ALL
SELECT 'policy', p.polname::text, ARRAY[p.polcmd::text, p.polpermissive::text, (0::oid = ANY (p.polroles) OR EXISTS (
           SELECT FROM pg_catalog.unnest(p.polroles) r (id) WHERE r.id <> 0::oid AND pg_catalog.pg_has_role(r.id, 'USAGE')))::text]
FROM t JOIN pg_catalog.pg_policy p ON p.polrelid = t.oid
UNION ALL
SELECT 'child', i.inhrelid::regclass::text, ARRAY[]::text[] FROM t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid
UNION ALL
SELECT 'setting', s.name, ARRAY[s.setting] FROM pg_catalog.pg_settings s WHERE s.name IN ('server_version_num', 'statement_timeout',
    'transaction_timeout', 'default_transaction_isolation', 'default_transaction_read_only', 'session_replication_role', 'row_security')
UNION ALL
` + readSchemas + `
UNION ALL
` + readWriters + `
UNION ALL
SELECT 'right', r.held, ARRAY[r.privilege, r.named]
FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[])) r (held, named, privilege)
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = pg_catalog.to_regclass(r.held)::oid AND a.attname = r.named AND a.attnum > 0 AND NOT a.attisdropped
WHERE pg_catalog.to_regclass(r.held) IS NOT NULL AND NOT CASE
    WHEN r.named = '' THEN pg_catalog.has_table_privilege(pg_catalog.to_regclass(r.held), r.privilege)
    WHEN a.attnum IS NULL THEN true
    ELSE pg_catalog.has_column_privilege(pg_catalog.to_regclass(r.held), a.attnum, r.privilege)
END`

// Fact is one row of Query.
type Fact struct {
	Topic, Name string
	Details     []string
}

// is reports whether a detail is a boolean that is true.
func (f Fact) is(detail int) bool { return f.Details[detail] == "true" }

// catalog is what Query yields, by topic.
type catalog map[string][]Fact

// role returns the database role of the session, quoted.
func (c catalog) role() string {
	if len(c["relation"]) == 0 {
		return "the role"
	}
	return c["relation"][0].Details[4]
}

// Options are what findings depend on besides the facts.
type Options struct {
	CreatesSchema    bool // the role creates what is missing of tables and triggers
	NoNotifications  bool // the triggers are not wanted
	StatementTimeout time.Duration

	Version, LatestVersion int64 // of the operator's tables: the last applied migration, 0 where it is not known, and the newest
}

// Describe returns the findings of these facts.
func Describe(facts []Fact, o Options) (found []store.Finding) {
	c := catalog{}
	for _, f := range facts {
		c[f.Topic] = append(c[f.Topic], f)
	}
	if len(c["relation"]) == 0 {
		found = append(found, store.Finding{
			Kind: store.FindingMissingTable, Object: schema.Ident(schema.Users),
			Consequence: "No table of this name is in the search_path of the role; nothing works until it exists.",
		})
	} else {
		found = append(found, describeRelation(c)...)
		found = append(found, describeColumns(c)...)
		found = append(found, describeKeys(c)...)
		found = append(found, describeConstraints(c)...)
		found = append(found, o.describeTriggers(c)...)
		found = append(found, describePolicies(c)...)
		if o.CreatesSchema {
			found = append(found, describeWriters(c)...)
		}
	}
	found = append(found, o.describeSettings(c)...)
	found = append(found, o.describeSchemas(c)...)
	found = append(found, describeRights(c)...)
	return append(found, o.describeVersion()...)
}
