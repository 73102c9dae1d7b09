// SPDX-License-Identifier: Apache-2.0

package postgres

import "strings"

// A change that endangers roles locks rows that hold them, two of each role, in the order of usernames. It is made only if one
// of each role is of another user, which keeps the role until the change is committed. So of two changes that would take a role
// from its last two holders, one waits for the other, and then finds no holder. The rows are locked after the ownership record,
// as all rows are.

// holds is a condition: the user of a row holds a role. A column that is not an array holds none.
const holds = `u.active AND pg_catalog.jsonb_typeof(u.roles::jsonb) = 'array' AND u.roles::jsonb ? r.role`

// sparing is inserted after the fence, which is then called candidate.
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

// sparingLastHolders returns a fence that also yields nothing if no other user holds an endangered role.
func sparingLastHolders(fence string) string {
	return strings.Replace(fence, "fence AS", "candidate AS", 1) + sparing
}

// isLastHolder asks whether that is why a change was not made.
const isLastHolder = `
SELECT EXISTS (
    SELECT FROM pg_catalog.unnest(@endangered::text[]) AS r (role)
    WHERE NOT EXISTS (SELECT FROM users u WHERE u.username::text <> @username::text AND ` + holds + `)
)`
