// SPDX-License-Identifier: Apache-2.0

package store

import (
	"time"
)

// While a database is unavailable, the fallback decides logins. Merge writes what happened meanwhile into the database:
//
//   - Merge never lowers a counter, shortens a lock, or sets a last login to an earlier time.
//   - Failures are added to the row's counter, since other replicas merge theirs as well. They are added to zero where the
//     lock of the row has expired. A row without a lock whose counter reaches the limit is locked from now on.
//   - A batch is merged as a whole or not at all, and once: merging it again changes nothing. So a merge whose answer was
//     lost can be retried.
//   - Activity of accounts that are gone is dropped. Their attempts remain in the audit trail.

// OfflineBatch is what happened while the database was unavailable, or a part of it.
type OfflineBatch struct {
	ID       string // random, and unique to the batch
	Accounts []OfflineActivity
	Attempts []Record // with time and outcome; they get IDs of their own
}

// OfflineActivity is what happened to one account, in times of the database's clock.
type OfflineActivity struct {
	Username    string
	Failures    int        // failed attempts that still count, 0 or more
	LockedUntil *time.Time // the end of the lock that they caused; nil where they caused none
	LastLogin   *time.Time // nil where there was none
}
