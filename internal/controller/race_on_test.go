// SPDX-License-Identifier: Apache-2.0

//go:build race

package controller_test

// raceEnabled tells that the race detector watches this run.
const raceEnabled = true
