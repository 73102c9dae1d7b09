// SPDX-License-Identifier: Apache-2.0

// Package shardingmanager is a stand-in for the sharding system's own manager: another program that reads and writes
// the table users, and serves logins with the same API as the operator.
//
// It treats the table as both generations of the real program do, whether or not that is wise:
//
//   - At each start it creates the table and its indexes if they do not exist, which needs the ownership of the table and
//     CREATE on the schema. After any error it logs [FallbackLine] and serves three accounts with well-known passwords from
//     memory.
//   - The older generation inserts these three accounts into an empty table. The newer one lets any client create the first
//     administrator of an empty table, refuses a third administrator, and has accounts without a password, for OAuth. It
//     creates an index on the column oauth_provider before it adds that column, so it fails at a table without it.
//   - It caches an account before it checks active, and answers from the cache without reading the row. Each attempt that
//     found its account removes it from the cache again.
//   - It counts a failure after the check. It writes a lock at each failure from the fifth on, also while the account is
//     locked, as the wall time of its own time zone. The column has no zone, so the server drops it.
//
// The tests of this package pin that behaviour. test/e2e tests how the operator handles it.
package shardingmanager
