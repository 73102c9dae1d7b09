// SPDX-License-Identifier: Apache-2.0

package store

import "github.com/sharding-system/shardinguser-operator/internal/user"

// A Scope selects the ownership records of one operator.
type Scope struct {
	Cluster string // UID of the cluster's kube-system namespace
	System  string // "" is the default system
}

// Owned is an ownership record, and whether its row exists and is active.
type Owned struct {
	Username  string
	Owner     user.Owner
	RowExists bool
	Active    bool // the row exists and is active
}
