// SPDX-License-Identifier: Apache-2.0

// Package postgres keeps the promises of package store on a Postgres database that other programs write as well.
//
// # Sessions
//
// Every session has its time zone set to UTC and its search_path pinned at start-up, whatever the role, the database or
// the server say. The path ends with pg_temp. Behind a pooler each transaction sets it (see path.go and conn.go). Statements do not
// depend on it: functions are named in pg_catalog, and operators get arguments of types for which pg_catalog has an exact match. A column of type TIMESTAMP is therefore UTC, and `column::timestamptz` reads it and a TIMESTAMPTZ
// column alike. Every comparison with now is made by the database's clock. The DSN is asked for again for each new
// connection, so a credential that was rotated needs no restart.
//
// # Changes
//
// A change is one statement, and so happens as a whole or not at all: it locks the note of the username and checks that
// the plan still holds, writes the row, writes the note, and notifies. See apply.go.
//
// # Logins
//
// A charge is one statement as well, and so is a settlement: it takes the lock of the row, decides by the row and the
// clock as they are then, writes the login columns and the audit trail, login_attempts. See login.go. Whether a lock is
// pending is told by the attempt that wrote it, which is found by the lock's end. What was decided elsewhere while the
// database was unavailable is merged by one statement too. See merge.go.
//
// # Observing
//
// A trigger on users sends each changed username on the channel shardinguser_rows; so does every change of our own. A
// notification means "look again", and nothing more. Whoever calls [Store.Watch] is told by one observer, which comes with
// the first and goes with the last of them. It listens on one direct connection, and in this order:
//
//  1. It listens, and only then reads what is there: nothing can fall between the two.
//  2. It tests itself. A notification that is sent through the pool has to arrive within two seconds. Where it does not
//     (a pooler in between, another database) or where there may be no trigger, it polls instead, and tries again
//     every minute.
//  3. It sweeps: it reads a digest of every row and note, and tells of those that differ from the last sweep, of
//     new ones and of those that are gone. The first sweep tells of all.
//  4. It waits. When nothing came for a while it asks whether the connection is still there, since TCP does not tell.
//     Every ResyncInterval it sweeps again, for counters and last logins, of which the trigger does not tell, and for
//     what was lost.
//  5. When the connection breaks it begins again at 1, with a growing delay.
//
// With [Settings].NoNotifications the store drops the trigger, opens no connection that listens, and sweeps every
// PollInterval.
//
// As long as notifications are not seen to pass, also while it connects, it sweeps every PollInterval.
//
// Sweeps run in a goroutine of their own, one at a time, and notifications pass meanwhile. An empty notification requests a
// sweep. Any number of requests cause one sweep, which begins no sooner than PollInterval (5 s at most) after the last one.
//
// Memory is bounded. What a sweep found is kept in compact pages, 20 bytes and the username for each row. The statement
// is read as a stream in no order: the database needs no temporary files, and the connection waits for no subscriber.
// Subscribers are told page by page, and a sweep waits for the slowest one. Notified usernames are kept up to a bound.
// Beyond it they are dropped, a sweep is requested, and the store is not current until the sweep is done.
//
// A sweep also tells of each username that was notified before it began. The row may be gone by then, or be as it was at
// the sweep before, while a subscriber read what was in between. What is notified while a sweep runs is kept for the next one.
//
// The trigger keeps silent about failed_login_attempts and last_login_at because they change with every login, and
// NOTIFY takes a lock over the whole server at commit.
//
// # Outages
//
// [Store.Maintain] migrates as soon as the database can be reached, and looks every second whether it answers. All
// that goes wrong is turned into package store's sentinels in one place, errors.go. A database that answers again after
// it did not is announced to the watchers. What makes it count as away is told in check.go.
package postgres
