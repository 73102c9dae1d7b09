// SPDX-License-Identifier: Apache-2.0

// Package fallback decides logins while the database is unavailable, and merges what happened when it is available again.
// It stands between the logins of a replica and the database.
//
// While the database is available, [Store] passes attempts to it and reads accounts from the account cache. While it is
// unavailable, a store in memory decides attempts. It begins with the account cache or, if the database was never available
// since the start, with the cluster accounts. It keeps every promise of package store: counters and locks continue, and nobody
// gets a new budget. When the database is available again, what happened is merged into it before it decides an attempt.
//
//	             database unavailable                     merged
//	database ──────────────────────────▶ fallback ──────────────────────────▶ database
//	decides         [Store.begin]        decides           [Store.end]        decides
//
// Replicas cannot count together while the database is unavailable. Each has the whole budget of an account
// (Options.Attempts makes it smaller). They learn of each other's locks through the statuses of the resources, within about
// a second.
//
// The fallback begins only where a check found the database unavailable. It decides an attempt only if the database cannot
// have received it: an interrupted attempt may have been charged, and is not charged again.
package fallback
