// SPDX-License-Identifier: Apache-2.0

package findings

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
)

// StrangersOf is an expression for the roles that may create objects in a schema ("n") or schemas in a database ("d"), by its
// privileges and its owner: a list of their names, and NULL where there are none. Superusers, the session's role and what it is a
// member of, the owner of the database and the roles of the arrays of more are no strangers: they can do
// without an object of their own what they could do by it. Everything is qualified, since it also runs before the search path is
// known.
func StrangersOf(privileges, owner, kind string, more ...string) string {
	trusted := ""
	for _, array := range more {
		trusted += ` OR g.id OPERATOR(pg_catalog.=) ANY (` + array + `)`
	}
	return `(SELECT pg_catalog.string_agg(DISTINCT COALESCE(pg_catalog.quote_ident(r.rolname::pg_catalog.text), 'PUBLIC'), ', '::pg_catalog.text)
    FROM (SELECT e.grantee FROM pg_catalog.aclexplode(COALESCE(` + privileges + `, pg_catalog.acldefault('` + kind + `'::pg_catalog."char", ` + owner + `))) e
          WHERE e.privilege_type OPERATOR(pg_catalog.=) 'CREATE'::pg_catalog.text
          UNION ALL SELECT ` + owner + `) g (id)
    LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) g.id
    CROSS JOIN pg_catalog.pg_roles me
    WHERE me.rolname OPERATOR(pg_catalog.=) CURRENT_USER AND NOT (COALESCE(r.rolsuper, false)
        OR COALESCE(CASE WHEN me.rolsuper THEN r.oid OPERATOR(pg_catalog.=) me.oid ELSE pg_catalog.pg_has_role(r.oid, 'MEMBER') END, false)
        OR COALESCE(r.rolname OPERATOR(pg_catalog.=) 'pg_database_owner'::pg_catalog.name, false)
        OR g.id OPERATOR(pg_catalog.=) (SELECT b.datdba FROM pg_catalog.pg_database b
            WHERE b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())` + trusted + `))`
}

// Roles that are no strangers: the owners of the table users and of the ownership record with their members, and the owner of a schema
// which holds one of them. Each of them can do anything with the operator's tables anyway. The subquery for the tables is evaluated once;
// an expression would be evaluated for each role and each relation.
const (
	ourTables   = `ARRAY(SELECT pg_catalog.to_regclass(known.name)::oid FROM (VALUES ('` + schema.Users + `'), ('` + schema.Ownership + `')) known (name))`
	tableOwners = `ARRAY(SELECT m.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles m ON pg_catalog.pg_has_role(m.oid, c.relowner, 'USAGE')
        WHERE c.oid = ANY (` + ourTables + `))`
	schemaOwner = `ARRAY(SELECT n.nspowner WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.oid = ANY (` + ourTables + `)))`
)

// readSchemas is the part of Query about the roles that may put an object into the search path, and about the owners of
// the operator's tables.
var readSchemas = `SELECT 'schema', n.nspname::text, ARRAY[COALESCE(` + StrangersOf("n.nspacl", "n.nspowner", "n", tableOwners, schemaOwner) + `, ''),
       pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(n.nspowner))]
FROM pg_catalog.pg_namespace n
WHERE n.nspname = ANY ($4::text[]::name[])
UNION ALL
SELECT 'database', d.datname::text, ARRAY[COALESCE(` + StrangersOf("d.datacl", "d.datdba", "d", tableOwners) + `, '')]
FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
UNION ALL
SELECT 'path', p.name, ARRAY[]::text[] FROM pg_catalog.unnest($4::text[]) p (name)
UNION ALL
SELECT 'owner', o.name, ARRAY[pg_catalog.quote_ident(r.rolname)]
FROM (SELECT c.oid::regclass::text, c.relowner FROM pg_catalog.pg_class c
      WHERE c.oid = ANY (ARRAY(SELECT pg_catalog.to_regclass(known.name)::oid FROM (VALUES ('` + schema.Ownership + `'), ('` + schema.Attempts + `'),
          ('` + schema.Changes + `'), ('` + schema.Merges + `'), ('` + schema.Probes + `'),
          ('` + schema.Familiar + `'), ('` + schema.Versions + `')) known (name)))
      UNION ALL
      SELECT p.oid::regprocedure::text, p.proowner FROM pg_catalog.pg_proc p
      WHERE p.oid = pg_catalog.to_regprocedure('` + schema.TriggerFunction + `()')::oid) o (name, owner)
JOIN pg_catalog.pg_roles r ON r.oid = o.owner
JOIN pg_catalog.pg_roles me ON me.rolname = CURRENT_USER
WHERE r.rolcanlogin AND NOT r.rolsuper
  AND NOT CASE WHEN me.rolsuper THEN r.oid = me.oid ELSE pg_catalog.pg_has_role(r.oid, 'MEMBER') END
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass('` + schema.Users + `')::oid AND c.relowner = r.oid)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database() AND d.datdba = r.oid)`

// describeSchemas returns findings about strangers that may create an object in the search path, which could shadow another one.
func (o Options) describeSchemas(c catalog) (found []store.Finding) {
	isThere := map[string]bool{}
	for _, named := range c["schema"] {
		isThere[named.Name] = true
		strangers, owner := named.Details[0], named.Details[1]
		if strangers == "" {
			continue
		}
		remedy := fmt.Sprintf("run REVOKE CREATE ON SCHEMA %s FROM %s", schema.Ident(named.Name), strangers)
		if slices.Contains(strings.Split(strangers, ", "), "PUBLIC") {
			remedy += ", and before that grant CREATE by name to the owner of users, if that is the role of a sharding manager"
		}
		if slices.Contains(strings.Split(strangers, ", "), owner) {
			remedy = "leave the schema out of the search_path, or run ALTER SCHEMA " + schema.Ident(named.Name) + " OWNER TO another role"
		}
		found = append(found, store.Finding{
			Kind: store.FindingOpenSchema, Object: schema.Ident(named.Name),
			Consequence: fmt.Sprintf("The schema is in the search_path, and %s may create objects in it: a table, a function or an operator "+
				"that is taken for another one runs with the rights of the role that uses it; %s.", strangers, remedy),
		})
	}
	for _, path := range c["path"] { // whether it is there or not, the search path names it
		database := c["database"][0]
		if strangers := database.Details[0]; !isThere[path.Name] && strangers != "" {
			found = append(found, store.Finding{
				Kind: store.FindingOpenSchema, Object: schema.Ident(path.Name),
				Consequence: fmt.Sprintf("The schema is in the search_path and does not exist, and %s may create it; leave it out of the "+
					"search_path, or run REVOKE CREATE ON DATABASE %s FROM %s.", strangers, schema.Ident(database.Name), strangers),
			})
		}
	}
	if o.CreatesSchema { // the login side's role owns none of them
		for _, object := range c["owner"] {
			found = append(found, store.Finding{
				Kind: store.FindingForeignOwner, Object: object.Name,
				Consequence: fmt.Sprintf("It belongs to the role %s, which can change what it does with the operator's rights; run ALTER ... OWNER TO "+
					"the operator's role or an administrator's, or ALTER ROLE %s NOLOGIN.", object.Details[0], object.Details[0]),
			})
		}
	}
	return found
}
