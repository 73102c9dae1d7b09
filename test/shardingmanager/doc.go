// SPDX-License-Identifier: Apache-2.0

// Package shardingmanager is a stand-in for the sharding system's own manager: another program that reads and writes the table
// users, and that serves logins by the same API as the operator.
//
// It does with the table what the real program does, in both of its generations, whether that is wise or not:
//
//   - At each start it creates the table and its indexes where they do not exist, which takes the ownership of the table and
//     CREATE on the schema. After any error it logs [FallbackLine] and serves three accounts with well-known passwords from
//     memory.
//   - The older generation inserts these three accounts into an empty table. The newer one lets anybody who asks first create
//     the first administrator of an empty table, refuses a third administrator, and has accounts without a password, for OAuth.
//     It creates an index on the column oauth_provider before it adds that column, so that it fails at a table without it.
//   - It reads an account into a cache before it looks at active, and answers from the cache without a look at the row. Each
//     attempt that found its account removes it from the cache again.
//   - It counts a failure after the check. It writes a lock at each failure from the fifth on, also while the account is locked,
//     and as the wall time of its own time zone: the column has no zone, so that the server drops the one of the value.
//
// The tests of this package pin that behaviour. What the operator makes of it are stories in test/e2e.
package shardingmanager
