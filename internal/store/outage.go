// SPDX-License-Identifier: Apache-2.0

package store

import (
	"time"
)

// While a database is away, log-ins are decided from memory. What happened meanwhile is merged into the database when it
// is back:
//
//   - Merge never makes a count or a lock less than the row has it, nor a last log-in earlier.
//   - Failures are added to the row's counter, since other replicas merge theirs as well; to a clean one where the row's
//     lock ran out. A row whose counter reaches the limit by it, and that has no lock, is locked from now on.
//   - It happens as a whole or not at all, and once: merging an Outage again that was merged changes nothing, so that
//     whoever does not know whether a merge succeeded can do it again.
//   - What is merged of accounts that are gone is dropped; their attempts stay on record.

// Outage is what happened while the database was away, or a part of it.
type Outage struct {
	ID       string // random, and another one for each part
	Accounts []Missed
	Attempts []Record // with time and outcome; they get IDs of their own
}

// Missed is what happened to one account, in times of the database's clock.
type Missed struct {
	Username    string
	Failures    int        // failed attempts that still count, 0 or more
	LockedUntil *time.Time // the end of the lock that they brought; nil where they brought none
	LastLogin   *time.Time // nil where there was none
}
