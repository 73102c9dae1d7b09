// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// The familiar budget of an account is in a row of shardinguser_familiar. Each statement locks the row of users before it, so
// that no two wait for each other. A charge locks both before it decides: it then reads the newest version of both, as long as
// they are older than its snapshot. A younger row of shardinguser_familiar is not there for it, so the attempt is charged to the
// common budget.

// budgets are the statements for accounts with one budget, or with up to two.
type budgets struct {
	areSplit       bool
	charge, settle string
	uncharge       []string // one for each budget
}

var (
	// oneBudget is for a schema without familiar addresses: with two roles, a new version may run before the owner of the tables
	// migrates, or before the roles have their rights. All attempts are charged to the common budget.
	oneBudget = budgets{
		charge: strings.NewReplacer(
			"{term}", "", "{budget}", "", "{counter}", "a.failed, a.locked_until, false AS familiar, false AS splits", "{join}", "", "{same}", "",
			"{written}", "", "{rows}", "written", "{column}", "", "{value}", "",
		).Replace(chargeAttempt),
		settle:   strings.NewReplacer("{familiar}", "false", "{remembered}", "").Replace(settleAttempt),
		uncharge: []string{strings.NewReplacer("{table}", "users", "{of}", "").Replace(uncharge)},
	}

	twoBudgets = budgets{
		areSplit: true,
		charge: strings.NewReplacer(
			"{term}", ", p.lockout_familiar", "{budget}", familiarBudget, "{join}", " LEFT JOIN budget b ON true",
			"{counter}", `COALESCE(b.failed, a.failed) AS failed,
           CASE WHEN b.failed IS NULL THEN a.locked_until ELSE b.locked_until END AS locked_until, b.failed IS NOT NULL AS familiar,
           COALESCE(p.lockout_familiar, false) AS splits`,
			"{written}", fmt.Sprintf(chargeFamiliar, strings.ReplaceAll(lockOfCharge, "{same}", sameBudget)),
			"{same}", sameBudget,
			"{rows}", "(TABLE written UNION ALL TABLE written_familiar)", "{column}", ", familiar", "{value}", ", j.verdict = 'check' AND j.familiar",
		).Replace(chargeAttempt),
		settle: strings.NewReplacer("{familiar}", "a.familiar", "{remembered}", rememberSource).Replace(settleAttempt),
		uncharge: []string{
			strings.NewReplacer("{table}", "users", "{of}", " AND NOT a.familiar").Replace(uncharge),
			strings.NewReplacer("{table}", "shardinguser_familiar", "{of}", " AND a.familiar").Replace(uncharge),
		},
	}
)

var (
	// familiarBudget yields a row where the attempt is charged to the familiar budget.
	familiarBudget = fmt.Sprintf(`
budget AS MATERIALIZED (
    SELECT GREATEST(f.failed_login_attempts, 0)::bigint AS failed, f.locked_until
    FROM terms p JOIN shardinguser_familiar f ON f.username::text = @username::text
    WHERE p.lockout_familiar AND EXISTS (
        SELECT FROM ROWS FROM (pg_catalog.unnest(f.sources), pg_catalog.unnest(f.logins)) AS known (source, login)
        WHERE known.source = @network::text AND known.login > pg_catalog.clock_timestamp() - %s)
    FOR NO KEY UPDATE OF f
),`, familiarFor)

	// rememberSource makes the address of an accepted success familiar. A success that was charged to the familiar budget clears
	// it, under the conditions under which others clear the common one.
	rememberSource = fmt.Sprintf(`
remembered AS (
    INSERT INTO shardinguser_familiar AS f (username, sources, logins, last_login_at)
    SELECT @username::text, ARRAY[@network::text], ARRAY[c.at], c.at
    FROM judged j, (SELECT pg_catalog.clock_timestamp() AS at OFFSET 0) c, shardinguser_ownership p
    WHERE j.is_first AND j.accepted AND p.username::text = @username::text AND p.state = 'owned' AND p.lockout_familiar
    ON CONFLICT (username) DO UPDATE SET
        (sources, logins) = (
            SELECT pg_catalog.array_agg(s.source ORDER BY s.login DESC), pg_catalog.array_agg(s.login ORDER BY s.login DESC)
            FROM (
                SELECT @network::text AS source, EXCLUDED.last_login_at AS login
                UNION ALL
                SELECT known.source, known.login
                FROM ROWS FROM (pg_catalog.unnest(f.sources), pg_catalog.unnest(f.logins)) AS known (source, login)
                WHERE known.source <> @network::text AND known.login > EXCLUDED.last_login_at - %s
                ORDER BY login DESC LIMIT %d
            ) s
        ),
        last_login_at = EXCLUDED.last_login_at,
        failed_login_attempts = CASE WHEN %[3]s THEN 0 ELSE f.failed_login_attempts END,
        locked_until = CASE WHEN %[3]s THEN NULL ELSE f.locked_until END
),`, familiarFor, store.MostFamiliar, clearsFamiliar)

	// purgeFamiliar deletes rows without a familiar address.
	purgeFamiliar = fmt.Sprintf(`
DELETE FROM shardinguser_familiar WHERE username::text = ANY (ARRAY(
    SELECT f.username::text FROM shardinguser_familiar f WHERE f.last_login_at < pg_catalog.now() - %s
    ORDER BY f.last_login_at LIMIT @batch::bigint
    FOR UPDATE SKIP LOCKED
))`, familiarFor)

	familiarFor = fmt.Sprintf("INTERVAL '%d seconds'", int(store.FamiliarFor.Seconds()))
)

const (
	sameBudget = " AND before.familiar = j.familiar"

	chargeFamiliar = `
written_familiar AS (
    UPDATE shardinguser_familiar u SET failed_login_attempts = j.charged, locked_until = %s
    FROM judged j WHERE u.username::text = j.username::text AND j.verdict = 'check' AND j.familiar
    RETURNING u.locked_until, true AS counts
),`

	clearsFamiliar = `EXISTS (SELECT FROM attempt a WHERE a.familiar
            AND (f.locked_until IS NULL OR f.locked_until <= pg_catalog.clock_timestamp() OR f.locked_until = a.locked_until))`
)

// The steps of a change that clear the familiar budget, or delete it with the addresses. %[1]s is the step that wrote the row of
// users, so that it is locked first, or the fence where none does.
const (
	unlockFamiliar = `,
familiar AS (
    UPDATE shardinguser_familiar f SET failed_login_attempts = 0, locked_until = NULL
    FROM %[1]s w WHERE f.username::text = @username::text
)`

	forgetFamiliar = `,
familiar AS (
    DELETE FROM shardinguser_familiar f USING %[1]s w WHERE f.username::text = @username::text
)`
)

// seesFamiliar asks whether the schema has familiar addresses, and the role its rights on them.
const seesFamiliar = `SELECT COALESCE(pg_catalog.has_table_privilege(pg_catalog.to_regclass('shardinguser_familiar')::oid, 'INSERT'), false)`

// budgets returns the statements for the schema as it is.
func (s *Store) budgets(ctx context.Context) budgets {
	if s.splitsBudgets.Load() {
		return twoBudgets
	}
	ctx, cancel := context.WithTimeout(ctx, s.timing.look) // a host may be silent, and the charge finds that out by itself
	defer cancel()
	var sees bool
	if err := s.ask(ctx, seesFamiliar, &sees); err != nil || !sees {
		return oneBudget
	}
	s.splitsBudgets.Store(true)
	return twoBudgets
}

// purgeFamiliar deletes rows without a familiar address, at most a batch of them.
func (s *Store) purgeFamiliar(ctx context.Context, batch int) error {
	if !s.budgets(ctx).areSplit {
		return nil
	}
	return s.run(ctx, writes, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		_, err := conn.Exec(ctx, purgeFamiliar, pgx.NamedArgs{"batch": max(0, batch)})
		return err
	})
}
