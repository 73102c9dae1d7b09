// SPDX-License-Identifier: Apache-2.0

package store

import (
	"time"
	"unicode"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// A store records the changes that it makes:
//
//   - A change that Apply makes of an account leaves one AccountChange, and with it becomes visible. A change that was not made
//     leaves none, and neither does one that only changes the ownership record, or that found the row as it was to be.
//   - The values before are those of the row that the change replaced, read under its lock. The values after are those that the
//     row got.
//   - Changes lists the latest first, in the order in which they were made of each account. A record never changes. PurgeChanges
//     deletes those older than a time, at most one batch at once, and returns how many.

// AccountChange is a change of an account, as it is recorded. It never holds a hash.
type AccountChange struct {
	ID        int64
	Time      time.Time // by the store's clock
	Username  string    // in printable characters, as in a Record
	Action    user.Action
	OldRoles  []string // nil without a row, or if the column was malformed
	NewRoles  []string // likewise
	OldActive *bool    // nil without a row
	NewActive *bool    // nil without a row

	PasswordChanged bool // the row got the hash of another password

	Owner      user.Owner // the resource
	Generation int64      // of the resource
	Manager    string     // the field manager that asked; "" if none is known
	Reason     string     // "" if nobody gave one
}

// ChangeQuery selects recorded changes.
type ChangeQuery struct {
	Username string        // as the account has it; "" for all
	Since    time.Duration // back from now, by the store's clock; 0 for all
	Actions  []user.Action // none for all
	Before   int64         // only those with a lower ID; 0 for all
	Limit    int           // how many at most, the latest; 0 for all
}

// mostReason is the largest number of characters of a reason or a field manager.
const mostReason = 256

// PrintableReason returns a reason or a field manager in printable characters, at most 256 of them.
func PrintableReason(text string) string { return printable(text, mostReason, unicode.MaxRune) }
