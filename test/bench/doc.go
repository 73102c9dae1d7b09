// SPDX-License-Identifier: Apache-2.0

// Command bench measures what docs/performance.md claims, on a real API server, a real Postgres and the real bin/manager:
//
//	make bench                              # all rows, 10,000 users: 25 minutes
//	make bench USERS=1000 ROWS=hash,restart # some rows, smaller
//	make bench ROWS=scale                   # 100,000 users
//
// Servers, manager and bench share the machine's cores. Seconds depend on the machine, so a figure stands beside a limit
// that is measured in the same run (see raw.go): what the parts that take the time cost when they do nothing else. The
// ratio of the two is what a row has an aim for. Beside each wall time stand the counters that explain it: hashes, writes
// to the API server, SQL statements, CPU seconds of each process.
//
// A figure that misses its aim is a figure; a counter that is wrong (a hash too many, a write too many) is a defect, and
// makes the program fail. The package's test runs all rows at a small size, for the counters alone.
//
// A row is a function of a [stage], which is what it plays on. Rows that need the same users in place share a stage and
// follow each other in an act.
package main
