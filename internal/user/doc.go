// SPDX-License-Identifier: Apache-2.0

// Package user is the core of the operator. It has the desired account (Desired), the observed account (Observed), the
// change between them (Plan), and the status that reports the result (Status).
//
// Every function is pure: no context, clock, logger or I/O, and no change of its arguments. The time is a value that
// the database returns with the row, so clock skew between pods has no effect. An expected failure, such as a missing
// Secret or a username that is taken, is a Problem with a reason, never a Go error.
package user
