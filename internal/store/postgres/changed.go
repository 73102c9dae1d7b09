// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// before is the row of users before a change, under the lock that the change needs. Written follows it, so that the row is read
// first. If row-level security keeps the role from locking the row, the values are NULL. %[4]s is the lock.
const before = `,
before AS MATERIALIZED (
    SELECT f.username, r.roles, r.active, r.hash FROM fence f
    LEFT JOIN LATERAL (
        SELECT ` + rolesOfRow + ` AS roles, u.active, u.password_hash::text AS hash FROM users u WHERE u.username::text = f.username::text
        %[4]s
    ) r ON true
)`

// rolesOfRow is the column roles, which another program may have filled with anything. Far more than a resource can ask for is NULL.
const rolesOfRow = `CASE WHEN pg_catalog.octet_length(u.roles::text) <= 8192 THEN pg_catalog.to_jsonb(u.roles) END`

// The steps that record a change. They follow recorded, so that a change that was not made leaves no row. A disabled hash is of the
// same password, and differs only in the first character.
const (
	changedCreated = `,
changed AS (
    ` + insertChange + `
    SELECT ` + changeKey + `, NULL::jsonb, w.roles, NULL::boolean, w.active, pg_catalog.length(w.hash) > 1, ` + changeSource + `
    FROM recorded, written w
    ` + returningChange + `
)`

	// An update that found the row as it leaves it changed nothing.
	changedWritten = `,
changed AS (
    ` + insertChange + `
    SELECT ` + changeKey + `, b.roles, w.roles, b.active, w.active, ` + isOtherHash + `, ` + changeSource + `
    FROM recorded, before b, written w
    WHERE @action::text IN ('` + string(user.ActionAdopted) + `', '` + string(user.ActionSuspended) + `')
       OR b.roles IS DISTINCT FROM w.roles OR b.active IS DISTINCT FROM w.active OR ` + isOtherHash + `
       OR (@unlock::text <> '' AND @clears::boolean AND w.cleared) OR @sign_out::text <> ''
    ` + returningChange + `
)`

	isOtherHash = `(COALESCE(pg_catalog.substr(b.hash, 2), '') <> COALESCE(pg_catalog.substr(w.hash, 2), ''))`

	changedEnded = `,
changed AS (
    ` + insertChange + `
    SELECT ` + changeKey + `, b.roles, NULL::jsonb, b.active, NULL::boolean, false, ` + changeSource + `
    FROM recorded, before b
    ` + returningChange + `
)`

	changedDeactivated = `,
changed AS (
    ` + insertChange + `
    SELECT ` + changeKey + `, b.roles, COALESCE(w.roles, b.roles), b.active, COALESCE(w.active, b.active), false, ` + changeSource + `
    FROM recorded, before b LEFT JOIN written w ON true
    ` + returningChange + `
)`

	// The row stays as it is.
	changedRecord = `,
changed AS (
    ` + insertChange + `
    SELECT ` + changeKey + `, b.roles, b.roles, b.active, b.active, false, ` + changeSource + `
    FROM recorded, before b
    ` + returningChange + `
)`

	insertChange = `INSERT INTO account_changes (` + changeColumns + `)`

	returningChange = `RETURNING id, ` + changeColumns

	// JSON has times in ISO 8601, whatever the session's settings are.
	recordOfChange = `(SELECT pg_catalog.row_to_json(c)::text FROM changed c)`
	noRecord       = `NULL::text`

	changeKey = `pg_catalog.now(), @printable_username::text, @action::text`

	changeSource = `@cluster::text, @system::text, @namespace::text, @name::text, @uid::text, @generation::bigint, @manager::text, @reason::text`
)

// returningRow is what written returns of the row for the record of a change.
const returningRow = rolesOfRow + ` AS roles, u.active, u.password_hash::text AS hash`

// lockedBefore returns the step before for a change that locks the row with this strength; "" for no lock.
func lockedBefore(lock string) string { return strings.Replace(before, "%[4]s", lock, 1) }

// The locks that an UPDATE and a DELETE take.
const (
	lockForUpdate = "FOR NO KEY UPDATE OF u"
	lockForDelete = "FOR UPDATE OF u"
	noLock        = ""
)

// recording returns the step that records an Update, Adopt or Suspend; "" if the change is not recorded.
func recording(change user.Change) string {
	if change.Entry().Action == "" {
		return ""
	}
	return changedWritten
}

// changeArguments adds what the record of a change needs.
func changeArguments(args pgx.NamedArgs, change user.Change) {
	entry := change.Entry()
	args["printable_username"] = store.Attempt{Username: change.Username}.Record(true).Username
	args["action"] = string(entry.Action)
	args["manager"] = store.PrintableReason(entry.Manager)
	args["reason"] = store.PrintableReason(entry.Reason)
}

// recordedChange is a row of account_changes, as row_to_json writes it.
type recordedChange struct {
	ID              int64           `json:"id"`
	ChangedAt       time.Time       `json:"changed_at"`
	Username        string          `json:"username"`
	Action          user.Action     `json:"action"`
	OldRoles        json.RawMessage `json:"old_roles"`
	NewRoles        json.RawMessage `json:"new_roles"`
	OldActive       *bool           `json:"old_active"`
	NewActive       *bool           `json:"new_active"`
	PasswordChanged bool            `json:"password_changed"`
	Cluster         string          `json:"cluster"`
	System          string          `json:"system"`
	Namespace       string          `json:"namespace"`
	Name            string          `json:"name"`
	UID             string          `json:"uid"`
	Generation      int64           `json:"generation"`
	Manager         string          `json:"manager"`
	Reason          string          `json:"reason"`
}

// announce passes on the record of a change that was committed.
func (s *Store) announce(record *string) {
	if record == nil || s.settings.Changed == nil {
		return
	}
	var r recordedChange
	if err := json.Unmarshal([]byte(*record), &r); err != nil {
		s.settings.Log.Error("Cannot read the record of a change", "error", err.Error())
		return
	}
	roles := func(column json.RawMessage) []string { return recordedRoles(new(string(column))) }
	s.settings.Changed(store.AccountChange{
		ID: r.ID, Time: r.ChangedAt.UTC(), Username: r.Username, Action: r.Action,
		OldRoles: roles(r.OldRoles), NewRoles: roles(r.NewRoles), OldActive: r.OldActive, NewActive: r.NewActive,
		PasswordChanged: r.PasswordChanged,
		Owner:           user.Owner{Cluster: r.Cluster, System: r.System, Namespace: r.Namespace, Name: r.Name, UID: r.UID},
		Generation:      r.Generation, Manager: r.Manager, Reason: r.Reason,
	})
}
