// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// suspects is what the catalogue knows of the table users that can skip, change or refuse a write of ours.
type suspects struct {
	triggers, rules, policies []string // names of other programs' triggers and rules, and of policies that are in force
	rowSecurity               bool     // row-level security is in force for our role
	columns                   []column // those that we write and whose type or making is another than we expect
	referrers                 []string // tables with a foreign key to users
}

// column is one that does not keep each value that is written, as far as its definition tells.
type column struct{ name, definition string }

// listSuspects yields one row for each. A disabled trigger does nothing, and an internal one belongs to a constraint.
const listSuspects = `
WITH users AS (SELECT to_regclass('` + usersTable + `') AS oid)
SELECT 'trigger', t.tgname::text, '' FROM users u JOIN pg_trigger t ON t.tgrelid = u.oid
WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgname NOT IN ('` + rowTrigger + `', '` + truncateTrigger + `')
UNION ALL
SELECT 'rule', r.rulename::text, '' FROM users u JOIN pg_rewrite r ON r.ev_class = u.oid
WHERE r.rulename <> '_RETURN' AND r.ev_enabled <> 'D'
UNION ALL
SELECT 'security', '', '' FROM users u WHERE u.oid IS NOT NULL AND row_security_active(u.oid)
UNION ALL
SELECT 'policy', p.polname::text, '' FROM users u JOIN pg_policy p ON p.polrelid = u.oid
WHERE row_security_active(u.oid)
UNION ALL
SELECT 'column', a.attname::text,
       CASE WHEN a.attgenerated <> '' THEN 'generated ' ELSE '' END || format_type(a.atttypid, a.atttypmod)
FROM users u JOIN pg_attribute a ON a.attrelid = u.oid
WHERE NOT a.attisdropped AND (a.attgenerated <> '' OR CASE a.attname
    WHEN 'password_hash' THEN a.atttypid NOT IN ('text'::regtype, 'varchar'::regtype) OR a.atttypmod BETWEEN 1 AND 63
    WHEN 'roles' THEN a.atttypid <> 'jsonb'::regtype
    WHEN 'active' THEN a.atttypid <> 'boolean'::regtype
END) AND a.attname IN ('username', 'password_hash', 'roles', 'active', 'updated_at')
UNION ALL
SELECT 'referrer', c.conrelid::regclass::text, '' FROM users u JOIN pg_constraint c ON c.confrelid = u.oid
WHERE c.contype = 'f'
ORDER BY 1, 2`

// findSuspects asks the catalogue, unless it did so just now. Where the catalogue does not answer, nothing is suspected.
func (s *Store) findSuspects(ctx context.Context) suspects {
	return s.suspected.get(s.timing.proof, func() suspects { return s.askSuspects(context.WithoutCancel(ctx)) })
}

func (s *Store) askSuspects(ctx context.Context) suspects {
	limited, cancel := context.WithTimeout(ctx, s.timing.look)
	defer cancel()
	var found suspects
	rows, err := s.pool.Query(limited, listSuspects)
	if err != nil {
		return found
	}
	var kind, name, definition string
	_, err = pgx.ForEachRow(rows, []any{&kind, &name, &definition}, func() error {
		switch kind {
		case "trigger":
			found.triggers = append(found.triggers, name)
		case "rule":
			found.rules = append(found.rules, name)
		case "security":
			found.rowSecurity = true
		case "policy":
			found.policies = append(found.policies, name)
		case "column":
			found.columns = append(found.columns, column{name: name, definition: definition})
		case "referrer":
			found.referrers = append(found.referrers, name)
		}
		return nil
	})
	if err != nil {
		return suspects{}
	}
	return found
}

// names lists those of the suspects that can change or skip a write, as far as there are any.
func (f suspects) names() string {
	var list []string
	for _, of := range []struct {
		what  string
		names []string
	}{{"trigger", f.triggers}, {"rule", f.rules}, {"row-level security policy", f.policies}} {
		for _, name := range of.names {
			list = append(list, of.what+" "+quoted(name, ""))
		}
	}
	if f.rowSecurity && len(f.policies) == 0 {
		list = append(list, "row-level security, which has no policy")
	}
	return strings.Join(list, ", ")
}

// Explain names what in the database may keep these fields of a row from being written, in a sentence for operators. It is
// asked after a write that the database took and did not keep.
func (s *Store) Explain(ctx context.Context, fields []user.Field) string {
	found := s.findSuspects(ctx)
	var reasons []string
	for _, c := range found.columns {
		if slices.Contains(fields, user.Field(c.name)) {
			reasons = append(reasons, fmt.Sprintf("Column %s has the type %s, which does not keep it as written: alter the column.",
				quoted(c.name, ""), c.definition))
		}
	}
	if names := found.names(); names != "" {
		reasons = append(reasons, fmt.Sprintf("On the table users there is %s, which may skip or change the write: change it, or drop it.", names))
	}
	if len(reasons) == 0 {
		return "The catalogue names no trigger, rule or policy that does so: look for another program that writes the row."
	}
	return strings.Join(reasons, " ")
}
