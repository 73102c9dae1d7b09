// SPDX-License-Identifier: Apache-2.0

package postgres

// sameName is the username of the record. If a trigger gave the row another one, it is NULL, which the table rejects. Otherwise
// the record of another account would be written, and an unwanted row would remain.
const sameName = "CASE WHEN w.username::text = @username::text THEN @username::text END"

// signOutTime is the time of a sign-out: in full seconds, and later than the one before, so that it revokes the tokens between. It
// stays when the account ends or gets another owner, since the same hash may come back.
const signOutTime = `GREATEST(pg_catalog.date_trunc('second', pg_catalog.clock_timestamp()), o.signed_out_at + INTERVAL '1 second')`

// recordPolicy are the columns that hold the decision of policies, and the end of the account.
const recordPolicy = `,
        suspended = @suspended::boolean, lockout_attempts = @lockout_attempts::integer,
        lockout_duration = @lockout_duration::bigint::float8 * INTERVAL '1 microsecond',
        lockout_longest = @lockout_longest::bigint::float8 * INTERVAL '1 microsecond',
        lockout_exempt = @lockout_exempt::boolean,
        lockout_familiar = @lockout_familiar::boolean,
        valid_until = @valid_until::timestamptz,
        withheld = @withheld::text`

// The steps that write the ownership record. %[1]s is the step before: written where there has to be a row, gone where there
// must be no active one, fence where it does not matter.
const (
	recordNew = `,
recorded AS (
    INSERT INTO shardinguser_ownership (username, cluster, system, namespace, name, uid, state, generation, deletion_policy,
        password_version, password_hash, password_weak, password_suspicion, password_judged, password_digest, password_changed_at, unlock_handled,
        suspended, lockout_attempts, lockout_duration, lockout_longest, lockout_exempt,
        lockout_familiar,
        sign_out_handled,
        signed_out_at,
        valid_until,
        withheld)
    SELECT ` + sameName + `, @cluster, @system, @namespace, @name, @uid, 'owned', @generation::bigint, @deletion,
        @noted_version, @noted_hash, @noted_weak::boolean, @noted_suspicion, @noted_judged, @noted_digest, CASE WHEN @password_new::boolean THEN pg_catalog.now() END,
        CASE WHEN w.cleared OR NOT @clears::boolean THEN @unlock::text ELSE '' END,
        @suspended::boolean, @lockout_attempts::integer, @lockout_duration::bigint::float8 * INTERVAL '1 microsecond',
        @lockout_longest::bigint::float8 * INTERVAL '1 microsecond',
        @lockout_exempt::boolean,
        @lockout_familiar::boolean,
        @sign_out::text,
        CASE WHEN @sign_out::text <> '' THEN pg_catalog.date_trunc('second', pg_catalog.clock_timestamp()) END,
        @valid_until::timestamptz,
        @withheld::text
    FROM %[1]s w
    RETURNING username
)`

	// A request to unlock, and the time of an unchanged password, are kept only for the same owner. A request is handled once
	// the row has no lock and a clean counter.
	recordTakeOver = `,
recorded AS (
    UPDATE shardinguser_ownership o SET
        username = ` + sameName + `,
        cluster = @cluster, system = @system, namespace = @namespace, name = @name, uid = @uid,
        state = 'owned', generation = @generation, revision = DEFAULT, deletion_policy = @deletion,
        password_version = @noted_version, password_hash = @noted_hash, password_weak = @noted_weak,
        password_suspicion = @noted_suspicion, password_judged = @noted_judged, password_digest = @noted_digest,
        password_changed_at = CASE
            WHEN @password_new::boolean THEN pg_catalog.now()
            WHEN o.uid = @uid AND @noted_version::text <> '' THEN o.password_changed_at
        END,
        unlock_handled = CASE
            WHEN @unlock::text <> '' AND (w.cleared OR NOT @clears::boolean) THEN @unlock
            WHEN o.uid = @uid THEN o.unlock_handled
            ELSE ''
        END,
        sign_out_handled = CASE WHEN @sign_out::text <> '' THEN @sign_out::text WHEN o.uid = @uid THEN o.sign_out_handled ELSE '' END,
        signed_out_at = CASE WHEN @sign_out::text <> '' THEN ` + signOutTime + ` ELSE o.signed_out_at END,
        changed_at = pg_catalog.now()` + recordPolicy + `
    FROM %[1]s w WHERE o.username::text = @username::text
    RETURNING o.username
)`

	// %[2]s are further columns.
	recordUpdate = `,
recorded AS (
    UPDATE shardinguser_ownership o SET
        username = ` + sameName + `,
        system = @system, generation = @generation, revision = DEFAULT, deletion_policy = @deletion, changed_at = pg_catalog.now()` + recordPolicy + `%[2]s
    FROM %[1]s w WHERE o.username::text = @username::text
    RETURNING o.username
)`

	// The hash is of no further use.
	recordReleased = `,
recorded AS (
    UPDATE shardinguser_ownership o SET
        state = 'released', generation = @generation, revision = DEFAULT, password_hash = '', password_digest = '',
        changed_at = pg_catalog.now()
    FROM %[1]s w WHERE o.username::text = w.username::text
    RETURNING o.username
)`

	recordDeleted = `,
recorded AS (
    UPDATE shardinguser_ownership o SET
        state = 'deleted', revision = DEFAULT, password_version = '', password_hash = '', password_weak = false,
        password_suspicion = '', password_judged = '', password_digest = '', password_changed_at = NULL, unlock_handled = '',
        sign_out_handled = '',
        valid_until = NULL,
        withheld = '',
        changed_at = pg_catalog.now()
    FROM %[1]s w WHERE o.username::text = w.username::text
    RETURNING o.username
)`

	recordBuriedNew = `,
recorded AS (
    INSERT INTO shardinguser_ownership (username, cluster, system, namespace, name, uid, state, generation, deletion_policy,
        password_version, password_hash, password_weak, unlock_handled)
    SELECT w.username, @cluster, @system, @namespace, @name, @uid, 'deleted', @generation::bigint, @deletion, '', '', false, ''
    FROM %[1]s w
    RETURNING username
)`

	// A tombstone becomes that of the latest owner. A released record stays that of its owner.
	recordBuried = `,
recorded AS (
    UPDATE shardinguser_ownership o SET
        cluster = CASE o.state WHEN 'deleted' THEN @cluster ELSE o.cluster END,
        system = CASE o.state WHEN 'deleted' THEN @system ELSE o.system END,
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

	// With a new tombstone, some older than a day are deleted: no process has a copy of the resource that old.
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
