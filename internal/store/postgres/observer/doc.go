// SPDX-License-Identifier: Apache-2.0

// Package observer reports changed rows of the table users to subscribers.
//
// A trigger on users sends each changed username as a notification on [RowsChannel], and so does every change of the
// operator. A notification only means "read again". One run of the observer serves all subscribers. It begins with the first
// subscriber and ends with the last one. It listens on one direct connection, in this order:
//
//  1. It listens, and reads the rows after that, so no change falls in between.
//
//  2. It tests itself: a notification that is sent through the pool has to arrive within two seconds. If it does not (because
//     of a pooler, or another database), or if there is no trigger, the observer polls, and tries again every minute.
//
//  3. It sweeps: one query returns a digest of each row and ownership record. It reports those that differ from the last
//     sweep, new ones and those that are gone. The first sweep reports all.
//
//  4. It waits. After a silence it checks the connection, since TCP does not report a lost peer. Every ResyncInterval it
//     sweeps again: for counters and last logins, which the trigger does not report, and for notifications that were lost.
//
//  5. When the connection breaks it begins again at 1, with a growing delay.
//
// Both ways end at the subscribers:
//
//	listening connection ──▶ notified ─┐
//	                                   ├─▶ subscriber ──▶ changed(usernames)
//	pool ──▶ sweep ──▶ pages ──────────┘
//
// While notifications do not arrive, also while it connects, it sweeps every PollInterval. With NoNotifications it opens no
// listening connection and has the trigger dropped.
//
// Sweeps run in a goroutine of their own, one at a time, while notifications continue. An empty notification requests a
// sweep. Any number of requests cause one sweep, which begins no sooner than PollInterval (5 s at most) after the last one.
//
// Memory is bounded. The digests are kept in compact pages, 20 bytes and the username for each row. The query is read as a
// stream in any order: the database needs no temporary files, and the connection does not wait for subscribers. Subscribers
// get a sweep page by page, and it waits for the slowest one. Notified usernames are kept up to a bound. Above it they are
// dropped, a sweep is requested, and the store is not current until that sweep has ended.
//
// A sweep also reports each username that was notified before it began. The row may be gone by then, or have the digest of
// the sweep before, while a subscriber read it in between. Usernames that are notified during a sweep are kept for the next one.
package observer
