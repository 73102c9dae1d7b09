// SPDX-License-Identifier: Apache-2.0

package store

import (
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Account is a row of the table users, for a program that creates a resource for it.
type Account struct {
	Username string
	Row      user.Row
	Owner    *user.Owner // the resource that owns the row; nil where none does
}

// Trail selects attempts of the audit trail.
type Trail struct {
	Username string        // as the account has it; "" for all, also those that no account has
	Since    time.Duration // back from now, by the store's clock; 0 for all
	Outcomes []Outcome     // none for all
	Before   int64         // the ID of an attempt that all others follow in the list; 0 for none
	Limit    int           // how many at most, the latest; 0 for all
}
