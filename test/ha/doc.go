// SPDX-License-Identifier: Apache-2.0

// Package ha tests failovers of a real high-availability Postgres: two servers that Patroni manages, with HAProxy in front of
// them, by the configuration in examples/patroni. The built manager uses the pair by HAProxy and by a DSN with both hosts, while
// users log in and are created.
//
// A story takes about a minute, because Patroni waits for its ttl, so `make test-deep` runs them and -short skips them. Of
// test/e2e, TestWorkResumesOnAPromotedStandby, TestFallbackServesLoginsWhileCommitsHang and
// TestANewDSNMovesAllSessionsUsersAndLogins cover the operator's part in each run.
package ha
