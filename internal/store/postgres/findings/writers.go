// SPDX-License-Identifier: Apache-2.0

package findings

import (
	"fmt"
	"strings"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// FromGrantees lists the roles that own the table t, a row of pg_class, or hold UPDATE on all of it, as g.id.
const FromGrantees = `FROM t CROSS JOIN LATERAL (
    SELECT e.grantee FROM pg_catalog.aclexplode(COALESCE(t.relacl, pg_catalog.acldefault('r'::pg_catalog."char", t.relowner))) e
    WHERE e.privilege_type = 'UPDATE'::text
    UNION SELECT t.relowner) g (id)`

// readWriters is the part of Query about the other roles that may log in and write the whole table users, by a right of their own or
// of a role that they are members of: whether the role may alter the table and create objects in the schema, and the owner of the
// table.
const readWriters = `SELECT DISTINCT 'writer', pg_catalog.quote_ident(r.rolname), ARRAY[pg_catalog.pg_has_role(r.oid, t.relowner, 'USAGE')::text,
       pg_catalog.has_schema_privilege(r.oid, t.relnamespace, 'CREATE')::text, pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(t.relowner)),
       pg_catalog.quote_ident(t.nspname)]
` + FromGrantees + `
JOIN pg_catalog.pg_roles r ON pg_catalog.pg_has_role(r.oid, g.id, 'USAGE')
WHERE r.rolcanlogin AND NOT r.rolsuper AND r.rolname <> CURRENT_USER`

// describeWriters finds roles with which a sharding manager could not start: its first statements create the table and its indexes
// if they do not exist, which needs the ownership of the table and CREATE on the schema even if they do.
func describeWriters(c catalog) (found []store.Finding) {
	for _, writer := range c["writer"] {
		var lacks, remedies []string
		owner, in := writer.Details[2], writer.Details[3]
		if !writer.is(0) {
			lacks = append(lacks, "does not own the table")
			remedies = append(remedies, fmt.Sprintf("ALTER TABLE users OWNER TO %s, or GRANT %s TO %s", writer.Name, owner, writer.Name))
		}
		if !writer.is(1) {
			lacks = append(lacks, "may not create objects in its schema")
			remedies = append(remedies, fmt.Sprintf("GRANT CREATE ON SCHEMA %s TO %s", in, writer.Name))
		}
		if len(lacks) == 0 {
			continue
		}
		found = append(found, store.Finding{
			Kind: store.FindingManagerRights, Object: writer.Name,
			Consequence: fmt.Sprintf("The role may write the table users and %s. A sharding manager that connects by it falls back to memory when it "+
				"starts, and then accepts the default passwords: run %s. For any other program, nothing is to be done.",
				strings.Join(lacks, " and "), strings.Join(remedies, "; ")),
		})
	}
	return found
}
