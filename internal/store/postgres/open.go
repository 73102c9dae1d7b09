// SPDX-License-Identifier: Apache-2.0

package postgres


// strangersOf is an expression for the roles that may create objects in a schema ("n") or schemas in a database ("d"), by its
// privileges and its owner: a list of their names, and NULL where there are none. Superusers, the session's role and what it is a
// member of, the owner of the database and the roles of the arrays of more are no strangers: what they could do by an object of
// their own, they can do without it. Everything is qualified, since it also runs before the search path is known.
func strangersOf(privileges, owner, kind string, more ...string) string {
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
