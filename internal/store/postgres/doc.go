// SPDX-License-Identifier: Apache-2.0

// Package postgres keeps the promises of package store on a Postgres database that other programs write as well.
//
// # Sessions
//
// Each session has the time zone UTC and a pinned search_path, whatever the role, the database or the server set. The path ends
// with pg_temp. Behind a pooler, each transaction sets it (session/path.go, conn.go). Statements do not depend on it: functions are named
// in pg_catalog, and operators get arguments of types that pg_catalog has an exact match for. So a column of type TIMESTAMP is
// UTC, and `column::timestamptz` reads it and a TIMESTAMPTZ column alike. The database's clock decides every comparison with
// now. The DSN is read again for each new connection, so a rotated credential needs no restart.
//
// # Changes
//
// A change is one statement, and so happens as a whole or not at all. It locks the ownership record of the username and checks
// that the plan still holds, writes the row, writes the record, and notifies (apply.go).
//
// # Logins
//
// A charge is one statement as well, and so is a settlement. It locks the row, decides by the row and the clock as they are
// then, and writes the login columns and the audit trail, login_attempts (login.go). A lock is pending while the attempt that
// wrote it is; the end of the lock identifies that attempt. One statement also merges what the fallback decided (merge.go).
//
// # Observing
//
// Package observer describes how subscribers of [Store.Watch] learn of changed rows. watch.go is what it needs of the store.
// The trigger does not notify of failed_login_attempts and last_login_at: they change with every login, and NOTIFY takes a lock
// of the whole server at commit.
//
// # Availability
//
// [Store.Maintain] migrates as soon as the database can be reached, and checks every second whether it answers. errors.go is the
// only place that classifies errors of the driver as package store's sentinels. A database that answers again after it did not
// is announced to subscribers. check.go describes when it counts as unavailable.
//
// # Files
//
//	what runs a call                store.go, lanes.go, errors.go, refusal.go, suspects.go, readback.go
//	accounts and changes            observe.go, apply.go, owned.go, accounts.go, holders.go, suspend.go, disabled.go, fresh.go
//	logins                          login.go, merge.go, unchecked.go, aggregate.go, trim.go
//	connections                     settings.go, conn.go, renew.go, peer.go, dsnidentity.go, folder session
//	health                          maintain.go, check.go, probe.go, health.go
//	schema                          migrate.go, trigger.go, notrigger.go, role.go, folder schema
//	observing                       watch.go, folder observer
//	findings                        inspect.go, zones.go, defaults.go, folder findings
package postgres
