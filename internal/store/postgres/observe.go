// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"time"
	"unique"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// observeAccounts reads the clock, and the rows and ownership records of usernames, at one moment. It yields one row for each
// username, by its index in the list. NULL replaces a username that no account can have. Other programs may have left NULL in any
// column.
const observeAccounts = `
SELECT asked.place, pg_catalog.now(),
       u.username IS NOT NULL,
       COALESCE(u.password_hash, ''),
       u.roles::text,
       COALESCE(u.active, false),
       COALESCE(u.failed_login_attempts, 0)::bigint,
       u.locked_until::timestamptz,   -- the session is in UTC, as a TIMESTAMP column is
       u.last_login_at::timestamptz,
       (SELECT pg_catalog.max(a.attempted_at) + @pending::bigint::float8 * INTERVAL '1 microsecond' FROM login_attempts a
        WHERE a.username::text = asked.recorded AND a.locked_until = u.locked_until::timestamptz AND a.outcome = 'pending'),

       o.username IS NOT NULL,
       COALESCE(o.cluster, ''), COALESCE(o.system, ''), COALESCE(o.namespace, ''), COALESCE(o.name, ''), COALESCE(o.uid, ''),
       COALESCE(o.state, ''), COALESCE(o.generation, 0), COALESCE(o.revision, 0), COALESCE(o.deletion_policy, ''),
       COALESCE(o.password_version, ''), COALESCE(o.password_hash, ''), COALESCE(o.password_weak, false),
       CASE WHEN o.password_judged = o.password_version THEN o.password_suspicion ELSE '' END,
       COALESCE(o.password_judged <> o.password_version, false),
       COALESCE(o.password_digest, ''),
       o.password_changed_at, COALESCE(o.unlock_handled, ''), COALESCE(o.suspended, false),
       COALESCE(o.lockout_attempts, 0),
       -- Numbers, since the text of an interval depends on the session's IntervalStyle.
       COALESCE(EXTRACT(epoch FROM o.lockout_duration) * 1000000::numeric, 0)::bigint,
       COALESCE(EXTRACT(epoch FROM o.lockout_longest) * 1000000::numeric, 0)::bigint,
       COALESCE(o.lockout_exempt, false),
       COALESCE(o.lockout_familiar, false),
       f.locked_until,
       COALESCE(o.sign_out_handled, ''),
       o.signed_out_at,
       o.valid_until,
       COALESCE(o.withheld, '')
FROM ROWS FROM (pg_catalog.unnest(@usernames::text[]), pg_catalog.unnest(@recorded::text[])) WITH ORDINALITY AS asked (username, recorded, place)
LEFT JOIN users u ON u.username::text = asked.username::text
LEFT JOIN shardinguser_ownership o ON o.username::text = asked.username::text
LEFT JOIN shardinguser_familiar f ON f.username::text = asked.username::text AND o.lockout_familiar AND o.state = 'owned'`

// Observe reads an account. Its errors are package store's ErrUnavailable, and that of the context.
func (s *Store) Observe(ctx context.Context, username string) (user.Observed, error) {
	observed, err := s.Snapshot(ctx, []string{username})
	return observed[username], err
}

// Snapshot is Observe for many usernames at one moment, usually a thousand at most. It has an entry for each.
func (s *Store) Snapshot(ctx context.Context, usernames []string) (map[string]user.Observed, error) {
	observed, err := s.snapshot(ctx, usernames, nil)
	if isUnencodable(err) {
		var unencodable map[string]bool
		if unencodable, err = s.unencodable(ctx, usernames); err == nil {
			observed, err = s.snapshot(ctx, usernames, unencodable)
		}
	}
	return observed, err
}

// snapshot asks for the usernames, except for the unencodable ones.
func (s *Store) snapshot(ctx context.Context, usernames []string, unencodable map[string]bool) (map[string]user.Observed, error) {
	if len(usernames) == 0 {
		return nil, ctx.Err()
	}
	var observed map[string]user.Observed
	err := s.run(ctx, reads, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) (err error) {
		observed, err = snapshotOn(ctx, conn, usernames, unencodable)
		return err
	})
	if err != nil {
		return nil, err
	}
	return observed, nil
}

// snapshotOn is snapshot on one connection. Its errors are the driver's.
func snapshotOn(ctx context.Context, conn *conn, usernames []string, unencodable map[string]bool) (map[string]user.Observed, error) {
	asked, recorded := make([]*string, len(usernames)), make([]*string, len(usernames))
	for i, username := range usernames {
		if store.MayBeUsername(username) && !unencodable[username] {
			asked[i] = &username
			recorded[i] = new(store.Attempt{Username: username}.Record(true).Username)
		}
	}
	rows, err := conn.Query(ctx, observeAccounts, pgx.NamedArgs{
		"usernames": asked, "recorded": recorded, "pending": store.PendingTime.Microseconds(),
	})
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	observed := make(map[string]user.Observed, len(usernames))
	for rows.Next() {
		place, account, err := scanAccount(rows)
		if err != nil {
			return nil, err
		}
		observed[usernames[place-1]] = account
	}
	return observed, rows.Err()
}

func scanAccount(result pgx.Row) (place int, observed user.Observed, err error) {
	var (
		row                             user.Row
		note                            user.Ownership
		exists, noted                   bool
		roles                           *string
		failed                          int64
		locked, login, pending, changed pgtype.Timestamptz
		familiar                        pgtype.Timestamptz
		duration, longest               int64 // microseconds
		validUntil, signedOut           pgtype.Timestamptz
	)
	err = result.Scan(&place, &observed.Now,
		&exists, &row.PasswordHash, &roles, &row.Active, &failed, &locked, &login, &pending,
		&noted, &note.Owner.Cluster, &note.Owner.System, &note.Owner.Namespace, &note.Owner.Name, &note.Owner.UID,
		&note.State, &note.Generation, &note.Revision, &note.Deletion,
		&note.PasswordVersion, &note.PasswordHash, &note.PasswordWeak, &note.PasswordSuspicion, &note.PasswordUnchecked, &note.PasswordDigest, &changed, &note.UnlockHandled,
		&note.Suspended, &note.Lockout.Attempts, &duration, &longest, &note.Lockout.Exempt,
		&note.Lockout.Familiar, &familiar,
		&note.SignOutHandled, &signedOut,
		&validUntil,
		&note.Withheld)
	if err != nil {
		return 0, user.Observed{}, err
	}
	if exists {
		row.FailedLoginAttempts = int(failed)
		row.LockedUntil, row.LastLogin = moment(locked), moment(login)
		row.FamiliarLockedUntil = moment(familiar)
		if pending.Valid && pending.Time.After(observed.Now) {
			row.LockPendingUntil = moment(pending)
		}
		row.Roles, row.RolesMalformed = parseRoles(roles)
		observed.Row = &row
	}
	if noted {
		note.PasswordChangedAt = moment(changed)
		note.Lockout.Duration = time.Duration(duration) * time.Microsecond
		note.Lockout.Longest = time.Duration(longest) * time.Microsecond
		note.ValidUntil, note.SignedOutAt = moment(validUntil), moment(signedOut)
		observed.Ownership = &note
		share(&note, row.PasswordHash)
	}
	return place, observed, nil
}

// share lets a record share equal texts with other records and with its row: the account cache keeps all of them.
func share(note *user.Ownership, hash string) {
	note.Owner.Cluster = unique.Make(note.Owner.Cluster).Value()
	note.Owner.System = unique.Make(note.Owner.System).Value()
	note.Owner.Namespace = unique.Make(note.Owner.Namespace).Value()
	note.PasswordSuspicion = unique.Make(note.PasswordSuspicion).Value()
	note.State, note.Deletion = unique.Make(note.State).Value(), unique.Make(note.Deletion).Value()
	if note.PasswordHash == hash {
		note.PasswordHash = hash
	}
}

// moment returns a time of the database; nil where there is none. A lock until 'infinity', which an administrator may set by hand, is
// reported as one until the last time.
func moment(t pgtype.Timestamptz) *time.Time {
	switch {
	case !t.Valid:
		return nil
	case t.InfinityModifier == pgtype.Infinity || (t.InfinityModifier == pgtype.Finite && t.Time.After(user.LatestTime)):
		return new(user.LatestTime)
	case t.InfinityModifier == pgtype.NegativeInfinity || t.Time.Before(user.EarliestTime):
		return new(user.EarliestTime)
	}
	return new(t.Time.UTC())
}

// parseRoles parses the column roles. Anything but an array of strings is malformed.
func parseRoles(column *string) (roles []string, malformed bool) {
	if column == nil {
		return nil, true
	}
	var parsed []*string
	if err := json.Unmarshal([]byte(*column), &parsed); err != nil || parsed == nil || slices.Contains(parsed, nil) {
		return nil, true
	}
	for _, role := range parsed {
		roles = append(roles, unique.Make(*role).Value())
	}
	return roles, false
}
