// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/observer"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// A change is one statement of up to five steps, each fed by the one before:
//
//	fence    locks the ownership record, if there is one, and yields a row only while the plan of the change still holds
//	written  writes the row of users, and yields a row only if it did
//	gone     of a change that ends the account: yields a row only if the row of users is now deleted or inactive
//	recorded writes the ownership record, with a new revision
//	SELECT   returns whether the fence held, and notifies if a record was written
//
// So nothing is written if the fence yields nothing, and nothing is recorded if no row was written. A writer that waited in the
// fence for another one sees the record as that one left it, with another revision, and yields nothing. All statements lock the
// record before the row, so they cannot deadlock.
//
// A trigger, rule or policy of another program may skip the write, or change it. A skipped row is not recorded. A changed row is,
// since the rest of the change was made. Either way the account is read back after the commit, because AFTER triggers and
// deferred ones run later than RETURNING. The caller believes only the account that was read back.

// patient limits how long the transaction waits for a lock of another one. A plain SELECT evaluates it before a lock is taken,
// since rows are locked above the join. It is no start-up parameter because PgBouncer rejects unknown ones. It is local to the
// transaction because PgBouncer passes the session on.
const patient = `
patience AS MATERIALIZED (
    SELECT pg_catalog.set_config('lock_timeout', @lock_timeout::text, true) AS milliseconds
),`

// The fences. A confirmed change may have an older generation, and may follow the tombstone of its own owner.
const (
	// No record was observed. recordNew makes sure that there still is none: a second record of the username violates the
	// primary key, and the error undoes the whole statement.
	fenceNone = `
fence AS (
    SELECT @username::text AS username FROM patience
)`

	// A record was observed, and is to be taken over. The revision shows that it is still the same. An owned username is taken
	// over only by a resource with the same cluster, system, namespace and name, and never by an older generation. A deleted one is not
	// taken over by the owner that was deleted.
	fenceTakeOver = `
fence AS (
    SELECT o.username FROM patience, shardinguser_ownership o
    WHERE o.username::text = @username::text AND o.revision = @revision
      AND (o.uid <> @uid OR @confirmed::boolean OR (o.generation <= @generation AND o.state <> 'deleted'))
      AND (o.state <> 'owned' OR (o.cluster = @cluster AND o.system = @system AND o.namespace = @namespace AND o.name = @name))
    FOR UPDATE OF o
)`

	// The resource owns the row, as it was observed, and no newer generation of it was applied.
	fenceOwned = `
fence AS (
    SELECT o.username FROM patience, shardinguser_ownership o
    WHERE o.username::text = @username::text AND o.revision = @revision
      AND o.uid = @uid AND o.state = 'owned' AND (@confirmed::boolean OR o.generation <= @generation)
    FOR UPDATE OF o
)`

	// A record was observed, and no resource owns the row.
	fenceUnowned = `
fence AS (
    SELECT o.username FROM patience, shardinguser_ownership o
    WHERE o.username::text = @username::text AND o.revision = @revision
      AND o.state <> 'owned' AND (o.uid <> @uid OR @confirmed::boolean OR o.generation <= @generation)
    FOR UPDATE OF o
)`
)

// The steps that write users. A row that exists makes the INSERT violate the primary key, which undoes the whole
// statement. The columns of the login side are left to their defaults.
const (
	insertRow = `,
written AS (
    INSERT INTO users (username, password_hash, roles, active, created_at, updated_at)
    SELECT f.username, @password_hash::text, @roles::jsonb, @active::boolean, pg_catalog.now(), pg_catalog.now() FROM fence f
    RETURNING username, (COALESCE(failed_login_attempts, 0) = 0 AND locked_until IS NULL) AS cleared
)`

	// %s is the list of columns that the change names.
	updateRow = `,
written AS (
    UPDATE users u SET %s, updated_at = pg_catalog.now() FROM fence f
    WHERE u.username::text = f.username::text
    RETURNING u.username, (COALESCE(u.failed_login_attempts, 0) = 0 AND u.locked_until IS NULL) AS cleared
)`

	// %[2]s are further columns, and %[3]s is a condition for inactive rows that are written too.
	deactivateRow = `,
written AS (
    UPDATE users u SET active = false%[2]s, updated_at = pg_catalog.now() FROM fence f
    WHERE u.username::text = f.username::text AND (u.active IS DISTINCT FROM false%[3]s)
    RETURNING u.active
),
gone AS (
    SELECT f.username FROM fence f
    WHERE EXISTS (SELECT FROM written w WHERE NOT w.active)
       OR (NOT EXISTS (SELECT FROM users u WHERE u.username::text = f.username::text AND u.active IS DISTINCT FROM false) AND NOT ` + hides + `)
)`

	deleteRow = `,
written AS (
    DELETE FROM users u USING fence f WHERE u.username::text = f.username::text
    RETURNING u.username
),
gone AS (
    SELECT f.username FROM fence f
    WHERE EXISTS (SELECT FROM written) OR (NOT EXISTS (SELECT FROM users u WHERE u.username::text = f.username::text) AND NOT ` + hides + `)
)`

	// hides is true if row-level security may hide rows from the role, so that a row that is not found may exist. It is false if
	// a policy lets the role read all rows and none restricts that.
	hides = `(pg_catalog.row_security_active('users') AND (
        EXISTS (` + readPolicies + ` AND NOT p.polpermissive)
        OR NOT EXISTS (` + readPolicies + ` AND p.polpermissive AND pg_catalog.pg_get_expr(p.polqual, p.polrelid) = 'true')))`

	readPolicies = `SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = pg_catalog.to_regclass('users')::oid AND p.polcmd IN ('r', '*')
            AND EXISTS (SELECT FROM pg_catalog.unnest(p.polroles) r (id) WHERE CASE WHEN r.id = 0::oid THEN true ELSE pg_catalog.pg_has_role(r.id, 'USAGE') END)`
)

// answer returns whether the fence held. It notifies observers if a record was written, also of changes that the trigger on
// users does not see: another resource may wait for a username that was freed without a change of its row.
const answer = `
SELECT EXISTS (SELECT FROM fence), (SELECT pg_catalog.pg_notify('` + observer.RowsChannel + `', recorded.username)::text FROM recorded)`

// statementFor returns the statement that makes the change.
func statementFor(change user.Change) (string, error) {
	steps := func(steps ...string) (string, error) { return "WITH" + patient + strings.Join(steps, "") + answer, nil }
	after := func(step, record string) string { return strings.ReplaceAll(record, "%[1]s", step) }

	fence, record := fenceTakeOver, recordTakeOver
	if change.Revision == 0 {
		fence, record = fenceNone, recordNew
	}
	owned := fenceOwned
	if len(change.Endangered) > 0 {
		fence, owned = sparingLastHolders(fence), sparingLastHolders(owned)
	}
	switch change.Verb {
	case user.Create:
		return steps(fence, insertRow, after("written", record+forgetFamiliar))
	case user.Adopt:
		return steps(fence, fmt.Sprintf(updateRow, columns(change)), after("written", record+forgetFamiliar))
	case user.Update:
		record := strings.ReplaceAll(recordUpdate, "%[2]s", recorded(change))
		if change.ClearLockout {
			record += unlockFamiliar
		}
		if set := columns(change); set != "" {
			return steps(owned, fmt.Sprintf(updateRow, set), after("written", record))
		}
		return steps(owned, after("fence", record))
	case user.Delete:
		return steps(owned, deleteRow, after("gone", recordDeleted+forgetFamiliar), purge)
	case user.Deactivate:
		return steps(owned, deactivation(change), after("gone", recordReleased+forgetFamiliar))
	case user.Suspend:
		return steps(suspension(change)...)
	case user.Release:
		return steps(fenceOwned, after("fence", recordReleased+forgetFamiliar))
	case user.Bury:
		if change.Revision == 0 {
			return steps(fenceNone, after("fence", recordBuriedNew), purge)
		}
		return steps(fenceUnowned, after("fence", recordBuried), purge)
	case user.Nothing:
	}
	return "", fmt.Errorf("no statement for the verb %q", change.Verb)
}

// columns returns what an Adopt or Update sets in the row; "" where it sets nothing.
func columns(change user.Change) string {
	writes := func(f user.Field) bool { return change.Verb == user.Adopt || slices.Contains(change.Write, f) }
	var set []string
	if writes(user.FieldRoles) {
		set = append(set, "roles = @roles::jsonb")
	}
	if writes(user.FieldActive) {
		set = append(set, "active = @active::boolean")
	}
	if change.WritesHash() {
		set = append(set, "password_hash = "+hashAfter(change))
	}
	if change.ClearLockout {
		set = append(set, "failed_login_attempts = 0", "locked_until = NULL")
	}
	return strings.Join(set, ", ")
}

// recorded returns what an Update records besides the generation and the deletion policy.
func recorded(change user.Change) string {
	set := ""
	if p := change.Password; p != nil {
		set += `,
        password_version = @noted_version, password_hash = @noted_hash, password_weak = @noted_weak,
        password_suspicion = @noted_suspicion, password_judged = @noted_judged, password_digest = @noted_digest`
		switch {
		case p.New:
			set += ", password_changed_at = pg_catalog.now()"
		case p.Version == "":
			set += ", password_changed_at = NULL"
		}
	}
	switch {
	case change.Unlock == "":
	case change.ClearLockout: // handled only if it was really cleared
		set += ", unlock_handled = CASE WHEN w.cleared THEN @unlock ELSE o.unlock_handled END"
	default:
		set += ", unlock_handled = @unlock"
	}
	if change.SignOut != "" {
		set += ", sign_out_handled = @sign_out, signed_out_at = " + signOutTime
	}
	return set
}

// arguments returns all arguments that a statement may name.
func (s *Store) arguments(change user.Change) (pgx.NamedArgs, error) {
	roles := change.Roles
	if roles == nil {
		roles = []string{} // not null, which is malformed
	}
	encoded, err := json.Marshal(roles)
	if err != nil {
		return nil, fmt.Errorf("encode the roles: %w", err)
	}
	var password, noted user.PasswordChange
	if change.Password != nil {
		password = *change.Password
	}
	if password.Version != "" {
		noted = password
	}
	judged := noted.Version
	if noted.Unchecked {
		judged = ""
	}
	return pgx.NamedArgs{
		"lock_timeout":  milliseconds(s.timing.lock),
		"username":      change.Username,
		"cluster":       change.Owner.Cluster,
		"system":        change.Owner.System,
		"namespace":     change.Owner.Namespace,
		"name":          change.Owner.Name,
		"uid":           change.Owner.UID,
		"generation":    change.Generation,
		"revision":      change.Revision,
		"confirmed":     change.Confirmed,
		"deletion":      string(change.Deletion),
		"roles":         string(encoded),
		"active":        change.Active,
		"password_hash": change.NewHash(),
		"password_new":  password.New,
		"noted_version": noted.Version,
		"noted_hash":    noted.Hash,
		"noted_weak":    noted.Weak,
		"noted_judged":  judged,
		"unlock":        change.Unlock,
		"sign_out":      change.SignOut,
		"clears":        change.ClearLockout,
		"endangered":    change.Endangered,

		"noted_suspicion":  string(noted.Suspicion),
		"noted_digest":     noted.Digest,
		"suspended":        change.Suspended,
		"lockout_attempts": change.Lockout.Attempts,
		"lockout_duration": change.Lockout.Duration.Microseconds(),
		"lockout_longest":  change.Lockout.Longest.Microseconds(),
		"lockout_exempt":   change.Lockout.Exempt,
		"lockout_familiar": change.Lockout.Familiar,
		"valid_until":      change.ValidUntil,
		"withheld":         string(change.Withheld),
	}, nil
}
