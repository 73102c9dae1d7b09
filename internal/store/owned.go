// SPDX-License-Identifier: Apache-2.0

package store

import "github.com/sharding-system/shardinguser-operator/internal/user"

// Owned is an ownership record, and whether its row exists and is active.
type Owned struct {
	Username  string
	Owner     user.Owner
	RowExists bool
	Active    bool // the row exists and is active
}
