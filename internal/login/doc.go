// SPDX-License-Identifier: Apache-2.0

// Package login decides who may log in, and answers over HTTP.
//
// One attempt goes this way, and never another:
//
//	throttle   a token of the client's address
//	queue      a place, in the order of package fair; one attempt on one account at a time within this replica, unless the
//	           account is exempt from lockout; or "busy": nothing was charged
//	reserve    that place at the hashing cores
//	charge     the store takes one attempt off the budget, and commits
//	check      one bcrypt computation: against the row's hash if, and only if, the attempt was charged; else a dummy's
//	settle     the store clears the counter, if the row is still what was verified
//
// From the charge on, an attempt is seen through whether or not the client waits for it. All refusals are one answer:
// unknown, wrong, inactive, locked and unusable hash differ neither in status, headers, body nor number of computations.
// What differs is the audit row, the log line and the metric, none of which the client sees.
//
// [Service.Verify] is asked on every request of a gateway. Credentials that passed lately are recognised without bcrypt,
// by a keyed fingerprint over username, password and the row's hash, and never by a row that is inactive, locked or has
// another hash by now. A fingerprint is never the ground of a refusal: who is not recognised goes the whole way. Who is
// recognised made no attempt, and so leaves no audit row.
//
// A username is logged, and kept in the audit trail, only where there is such an account; people type passwords into the
// wrong field. In its place stands a digest under a key that is random and dies with the process: a key in a file would
// let the digests of several replicas be compared, but also let whoever gets hold of it and of the audit trail guess,
// at leisure, the passwords in there.
package login
