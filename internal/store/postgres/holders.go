// SPDX-License-Identifier: Apache-2.0

package postgres

import "strings"

// A change that endangers roles takes the locks of rows that hold them, two of each, in the order of usernames. It is made
// only where one of each role is another user's; that one keeps the role until the change is committed. So of two changes
// that would take a role from its last two holders one waits for the other, and then finds nobody. The locks come after the
// note's, as those of all rows do.

// holds reports whether a row's user holds a role: a column roles that is no array holds none.
const holds = `u.active AND pg_catalog.jsonb_typeof(u.roles::jsonb) = 'array' AND u.roles::jsonb ? r.role`

// sparing goes between the fence, which is called candidate then, and what follows it.
const sparing = `,
holders AS MATERIALIZED (
    SELECT r.role, h.username
    FROM candidate c CROSS JOIN pg_catalog.unnest(@endangered::text[]) AS r (role)
    CROSS JOIN LATERAL (
        SELECT u.username FROM users u
        WHERE ` + holds + `
        ORDER BY u.username LIMIT 2
        FOR NO KEY UPDATE
    ) h
),
fence AS (
    SELECT c.username FROM candidate c
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.unnest(@endangered::text[]) AS r (role)
        WHERE NOT EXISTS (SELECT FROM holders h WHERE h.role = r.role AND h.username::text <> c.username::text)
    )
)`

// sparingLastHolders is a fence that yields nothing either where nobody else holds an endangered role.
func sparingLastHolders(fence string) string {
	return strings.Replace(fence, "fence AS", "candidate AS", 1) + sparing
}

// isLastHolder reports whether that is why a change was not made.
const isLastHolder = `
SELECT EXISTS (
    SELECT FROM pg_catalog.unnest(@endangered::text[]) AS r (role)
    WHERE NOT EXISTS (SELECT FROM users u WHERE u.username::text <> @username::text AND ` + holds + `)
)`
