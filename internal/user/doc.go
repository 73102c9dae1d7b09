// SPDX-License-Identifier: Apache-2.0

// Package user is the heart of the operator: what an account should be (Desired), what it is (Observed), the one
// change that leads from the one to the other (Plan), and the status that tells of it (Status).
//
// Everything here is a pure function of its arguments. There is no context, clock, logger or I/O; the time comes in as
// a figure, read from the database in the same SELECT as the row, so that the clocks of pods cannot matter. Nothing
// changes its input. What can be expected to go wrong (no Secret, a name that is taken) is a value with a reason, a
// Problem, and never a Go error.
package user
