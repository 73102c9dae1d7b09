// SPDX-License-Identifier: Apache-2.0

// Package login decides logins, and serves them over HTTP.
//
// Each attempt passes these steps in this order:
//
//	throttle   takes a token of the client's address
//	queue      waits for a place, in the order of package fair; one attempt on an account at a time within this replica, unless
//	           the account is exempt from lockout. A full queue answers "busy" and charges nothing
//	reserve    reserves a place at the hashing cores
//	charge     the store takes one attempt off the budget, and commits
//	check      one bcrypt computation: against the row's hash if and only if the attempt was charged, else against a dummy hash
//	settle     the store clears the counter, if the row is still the one that was verified
//
// From the charge on, an attempt is completed whether or not the client waits for it. All refusals get the same answer:
// unknown, wrong, inactive, locked and unusable hash have the same status, headers, body and number of computations. Only the
// audit row, the log line and the metric differ, which clients do not see.
//
// Gateways call [Service.Verify] on every request. It recognizes credentials that passed recently without bcrypt, by a keyed
// fingerprint of username, password and the row's hash. It does not recognize them if the row is inactive, locked or has another
// hash. A fingerprint never refuses credentials: those that are not recognized take all steps. Recognized credentials are no
// attempt, and so leave no audit row.
//
// A username is logged and kept in the audit trail only if the account exists, because people type passwords into the wrong
// field. Otherwise a digest replaces it, under a random key that is lost when the process ends. With a key in a file, the digests
// of several replicas could be compared, but a thief of the file and the audit trail could guess these passwords offline.
package login
