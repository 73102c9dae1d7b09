// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// A change is one statement of up to five steps, each fed by the one before:
//
//	fence   locks the note, where there is one, and yields a row only while the plan behind the change still holds
//	written writes the row of users, and yields a row only where it did
//	gone    of a change that ends the account: yields a row only where the row of users is now deleted, or inactive
//	noted   writes the note, with a new revision
//	SELECT  says whether the fence held, and notifies where a note was written
//
// So nothing is written once the fence yields nothing, and nothing is noted once there was no row to write. A writer
// that waited in the fence for another one sees the note as that one left it, with another revision, and yields
// nothing. The order of locks is the same in all of them, note before row, so that they cannot deadlock.
//
// Another program's trigger, rule or policy may skip the write, or change it. A row that was skipped is not noted. A row
// that was changed is, since the rest of the change was made. Either way the account is read back after the commit, also
// since AFTER triggers and deferred ones run later than RETURNING: what was read back is what the caller believes.

// patient makes the transaction wait for a lock of another one for no longer than this. A plain SELECT evaluates it before
// a lock is taken, since rows are locked above the join. It is no start-up parameter because PgBouncer refuses those that it
// does not know, and is local to the transaction because PgBouncer hands the session on.
const patient = `
patience AS MATERIALIZED (
    SELECT pg_catalog.set_config('lock_timeout', @lock_timeout::text, true) AS milliseconds
),`

// The fences. A change that is confirmed may rest on an older generation, and may follow the tombstone of its own owner.
const (
	// No note was observed. That there still is none, noteNew ensures: a second note of the name violates the primary
	// key, and the error undoes the whole statement.
	fenceNone = `
fence AS (
    SELECT @username::text AS username FROM patience
)`

	// A note was observed, and is to be taken over. The revision says that it is still the same. An owned name is taken
	// over only in the owner's own place, and never by an older generation; a deleted one not by the owner that was
	// deleted.
	fenceTakeOver = `
fence AS (
    SELECT o.username FROM patience, shardinguser_ownership o
    WHERE o.username::text = @username::text AND o.revision = @revision
      AND (o.uid <> @uid OR @confirmed::boolean OR (o.generation <= @generation AND o.state <> 'deleted'))
      AND (o.state <> 'owned' OR (o.cluster = @cluster AND o.namespace = @namespace AND o.name = @name))
    FOR UPDATE OF o
)`

	// The row is the owner's own, as it was observed, and the owner has applied no newer generation.
	fenceOwned = `
fence AS (
    SELECT o.username FROM patience, shardinguser_ownership o
    WHERE o.username::text = @username::text AND o.revision = @revision
      AND o.uid = @uid AND o.state = 'owned' AND (@confirmed::boolean OR o.generation <= @generation)
    FOR UPDATE OF o
)`

	// A note was observed, and nobody owns the row.
	fenceUnowned = `
fence AS (
    SELECT o.username FROM patience, shardinguser_ownership o
    WHERE o.username::text = @username::text AND o.revision = @revision
      AND o.state <> 'owned' AND (o.uid <> @uid OR @confirmed::boolean OR o.generation <= @generation)
    FOR UPDATE OF o
)`
)

// What is written into users. A row that exists makes the INSERT violate the primary key, which undoes the whole
// statement. The columns of the log-in side are left to their defaults.
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

	// %[2]s is what else is written, and %[3]s which inactive rows are written too.
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

	// hides is whether row-level security may hide rows from the role, so that a row that is not seen may still be there. It does
	// not where a policy lets the role read all rows, and none restricts that.
	hides = `(pg_catalog.row_security_active('users') AND (
        EXISTS (` + readPolicies + ` AND NOT p.polpermissive)
        OR NOT EXISTS (` + readPolicies + ` AND p.polpermissive AND pg_catalog.pg_get_expr(p.polqual, p.polrelid) = 'true')))`

	readPolicies = `SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = pg_catalog.to_regclass('users')::oid AND p.polcmd IN ('r', '*')
            AND EXISTS (SELECT FROM pg_catalog.unnest(p.polroles) r (id) WHERE CASE WHEN r.id = 0::oid THEN true ELSE pg_catalog.pg_has_role(r.id, 'USAGE') END)`
)

// sameName is the username of the note; NULL, which the table refuses, where a trigger gave the row another one. Without it
// the note of another account would be written, and a row left behind that nobody asked for.
const sameName = "CASE WHEN w.username::text = @username::text THEN @username::text END"

// notePolicy is what is noted of what policies say.
const notePolicy = `,
        suspended = @suspended::boolean, lockout_attempts = @lockout_attempts::integer,
        lockout_duration = @lockout_duration::bigint::float8 * INTERVAL '1 microsecond',
        lockout_longest = @lockout_longest::bigint::float8 * INTERVAL '1 microsecond',
        lockout_exempt = @lockout_exempt::boolean`

// What is noted. %[1]s is the step that it follows: written where there has to be a row, gone where there must be none that
// is active, fence where it does not matter.
const (
	noteNew = `,
noted AS (
    INSERT INTO shardinguser_ownership (username, cluster, namespace, name, uid, state, generation, deletion_policy,
        password_version, password_hash, password_weak, password_suspicion, password_judged, password_changed_at, unlock_handled,
        suspended, lockout_attempts, lockout_duration, lockout_longest, lockout_exempt)
    SELECT ` + sameName + `, @cluster, @namespace, @name, @uid, 'owned', @generation::bigint, @deletion,
        @noted_version, @noted_hash, @noted_weak::boolean, @noted_suspicion, @noted_judged, CASE WHEN @password_new::boolean THEN pg_catalog.now() END,
        CASE WHEN w.cleared OR NOT @clears::boolean THEN @unlock::text ELSE '' END,
        @suspended::boolean, @lockout_attempts::integer, @lockout_duration::bigint::float8 * INTERVAL '1 microsecond',
        @lockout_longest::bigint::float8 * INTERVAL '1 microsecond',
        @lockout_exempt::boolean
    FROM %[1]s w
    RETURNING username
)`

	// A request to unlock, and the time of a password that is still the same, survive only under the same owner. A request
	// counts as handled once the row has no lock and a clean counter.
	noteTakeOver = `,
noted AS (
    UPDATE shardinguser_ownership o SET
        username = ` + sameName + `,
        cluster = @cluster, namespace = @namespace, name = @name, uid = @uid,
        state = 'owned', generation = @generation, revision = DEFAULT, deletion_policy = @deletion,
        password_version = @noted_version, password_hash = @noted_hash, password_weak = @noted_weak,
        password_suspicion = @noted_suspicion, password_judged = @noted_judged,
        password_changed_at = CASE
            WHEN @password_new::boolean THEN pg_catalog.now()
            WHEN o.uid = @uid AND @noted_version::text <> '' THEN o.password_changed_at
        END,
        unlock_handled = CASE
            WHEN @unlock::text <> '' AND (w.cleared OR NOT @clears::boolean) THEN @unlock
            WHEN o.uid = @uid THEN o.unlock_handled
            ELSE ''
        END,
        changed_at = pg_catalog.now()` + notePolicy + `
    FROM %[1]s w WHERE o.username::text = @username::text
    RETURNING o.username
)`

	// %[2]s is what else the change notes.
	noteUpdate = `,
noted AS (
    UPDATE shardinguser_ownership o SET
        username = ` + sameName + `,
        generation = @generation, revision = DEFAULT, deletion_policy = @deletion, changed_at = pg_catalog.now()` + notePolicy + `%[2]s
    FROM %[1]s w WHERE o.username::text = @username::text
    RETURNING o.username
)`

	// A hash is kept only as long as it is of use.
	noteReleased = `,
noted AS (
    UPDATE shardinguser_ownership o SET
        state = 'released', generation = @generation, revision = DEFAULT, password_hash = '', changed_at = pg_catalog.now()
    FROM %[1]s w WHERE o.username::text = w.username::text
    RETURNING o.username
)`

	noteDeleted = `,
noted AS (
    UPDATE shardinguser_ownership o SET
        state = 'deleted', revision = DEFAULT, password_version = '', password_hash = '', password_weak = false,
        password_suspicion = '', password_judged = '', password_changed_at = NULL, unlock_handled = '', changed_at = pg_catalog.now()
    FROM %[1]s w WHERE o.username::text = w.username::text
    RETURNING o.username
)`

	noteBuriedNew = `,
noted AS (
    INSERT INTO shardinguser_ownership (username, cluster, namespace, name, uid, state, generation, deletion_policy,
        password_version, password_hash, password_weak, unlock_handled)
    SELECT w.username, @cluster, @namespace, @name, @uid, 'deleted', @generation::bigint, @deletion, '', '', false, ''
    FROM %[1]s w
    RETURNING username
)`

	// A tombstone becomes that of the owner who came last; what was released stays the former owner's.
	noteBuried = `,
noted AS (
    UPDATE shardinguser_ownership o SET
        cluster = CASE o.state WHEN 'deleted' THEN @cluster ELSE o.cluster END,
        namespace = CASE o.state WHEN 'deleted' THEN @namespace ELSE o.namespace END,
        name = CASE o.state WHEN 'deleted' THEN @name ELSE o.name END,
        uid = CASE o.state WHEN 'deleted' THEN @uid ELSE o.uid END,
        generation = CASE o.state WHEN 'deleted' THEN @generation ELSE o.generation END,
        deletion_policy = CASE o.state WHEN 'deleted' THEN @deletion ELSE o.deletion_policy END,
        changed_at = CASE o.state WHEN 'deleted' THEN pg_catalog.now() ELSE o.changed_at END,
        revision = DEFAULT
    FROM %[1]s w WHERE o.username::text = w.username::text
    RETURNING o.username
)`

	// With a new tombstone goes a handful of those that are more than a day old: nobody can still believe in them.
	purge = `,
purged AS (
    DELETE FROM shardinguser_ownership WHERE username::text IN (
        SELECT old.username::text FROM shardinguser_ownership old
        WHERE old.state = 'deleted' AND old.changed_at < pg_catalog.now() - INTERVAL '1 day' AND old.username::text <> @username::text
        ORDER BY old.changed_at LIMIT 20
        FOR UPDATE SKIP LOCKED
    )
)`
)

// answer says whether the fence held. It notifies observers where a note was written, also of what the trigger on users
// does not see: a name that was freed without its row being changed may be what another resource waits for.
const answer = `
SELECT EXISTS (SELECT FROM fence), (SELECT pg_catalog.pg_notify('` + rowsChannel + `', noted.username)::text FROM noted)`

// statementFor is the statement that makes the change.
func statementFor(change user.Change) (string, error) {
	steps := func(steps ...string) (string, error) { return "WITH" + patient + strings.Join(steps, "") + answer, nil }
	after := func(step, note string) string { return strings.ReplaceAll(note, "%[1]s", step) }

	fence, note := fenceTakeOver, noteTakeOver
	if change.Revision == 0 {
		fence, note = fenceNone, noteNew
	}
	owned := fenceOwned
	if len(change.Endangered) > 0 {
		fence, owned = sparingLastHolders(fence), sparingLastHolders(owned)
	}
	switch change.Verb {
	case user.Create:
		return steps(fence, insertRow, after("written", note))
	case user.Adopt:
		return steps(fence, fmt.Sprintf(updateRow, columns(change)), after("written", note))
	case user.Update:
		note := strings.ReplaceAll(noteUpdate, "%[2]s", notes(change))
		if set := columns(change); set != "" {
			return steps(owned, fmt.Sprintf(updateRow, set), after("written", note))
		}
		return steps(owned, after("fence", note))
	case user.Delete:
		return steps(owned, deleteRow, after("gone", noteDeleted), purge)
	case user.Deactivate:
		return steps(owned, deactivation(change), after("gone", noteReleased))
	case user.Suspend:
		return steps(suspension(change)...)
	case user.Release:
		return steps(fenceOwned, after("fence", noteReleased))
	case user.Bury:
		if change.Revision == 0 {
			return steps(fenceNone, after("fence", noteBuriedNew), purge)
		}
		return steps(fenceUnowned, after("fence", noteBuried), purge)
	case user.Nothing:
	}
	return "", fmt.Errorf("no statement for the verb %q", change.Verb)
}

// columns is what an Adopt or Update sets in the row; "" where it sets nothing.
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

// notes is what an Update notes beside the generation and the deletion policy.
func notes(change user.Change) string {
	set := ""
	if p := change.Password; p != nil {
		set += `,
        password_version = @noted_version, password_hash = @noted_hash, password_weak = @noted_weak,
        password_suspicion = @noted_suspicion, password_judged = @noted_judged`
		switch {
		case p.New:
			set += ", password_changed_at = pg_catalog.now()"
		case p.Version == "":
			set += ", password_changed_at = NULL"
		}
	}
	switch {
	case change.Unlock == "":
	case change.ClearLockout: // handled is what was really cleared
		set += ", unlock_handled = CASE WHEN w.cleared THEN @unlock ELSE o.unlock_handled END"
	default:
		set += ", unlock_handled = @unlock"
	}
	return set
}

// arguments is all that a statement may name.
func (s *Store) arguments(change user.Change) (pgx.NamedArgs, error) {
	roles := change.Roles
	if roles == nil {
		roles = []string{} // null is no set of roles
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
		"clears":        change.ClearLockout,
		"endangered":    change.Endangered,

		"noted_suspicion":  string(noted.Suspicion),
		"suspended":        change.Suspended,
		"lockout_attempts": change.Lockout.Attempts,
		"lockout_duration": change.Lockout.Duration.Microseconds(),
		"lockout_longest":  change.Lockout.Longest.Microseconds(),
		"lockout_exempt":   change.Lockout.Exempt,
	}, nil
}
