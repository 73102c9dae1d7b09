// SPDX-License-Identifier: Apache-2.0

// Package fallback stands between log-ins and the database, on each replica. It has two parts:
//
//   - The copy. Every account of the table is kept in memory, up to a bound, and looked up there. Whoever changes a row
//     causes a notification, and the account is read again; until it has been, it is looked up in the database, and so are all
//     while notifications do not pass. What is changed by this very process is read again without waiting for one.
//   - The outage. While the database is away, attempts are decided by a store in memory that begins with the copy or, where
//     there was no database since the start, with what the cluster declares. It keeps every promise of package store, so
//     that an outage gives nobody a new budget: counters and locks go on from where they were. When the database is back,
//     what happened is merged into it before it decides the first attempt.
//
// What an outage costs is told here once: replicas cannot count together then. Each has the account's budget by itself
// (Options.Attempts makes it smaller), and tells the others of locks through the statuses of the resources, which takes them
// up to a second.
//
// An outage begins only where the database was found to be away, and an attempt is decided from memory only where the
// database cannot have got it: one that broke off in the middle may have been charged, and is not charged again.
package fallback
