// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// When to look at a resource again although nothing will tell: zero where there is no such time.

// lockChange is when to look again because a lock will have run out, or may be told of; zero where there is none. It
// comes from the database's clock, as a length of time, so that the clock here does not matter.
func lockChange(found outcome) time.Duration {
	if found.observed == nil || !found.observed.OwnedBy(found.desired.Owner) || !found.observed.Locked() {
		return 0
	}
	return min(found.observed.LookAgain(), longestWait) + lockMargin
}

// nameFreed is when to look again because the name may be free by then. An event tells of that; this is for the one
// that comes before anybody listens.
func nameFreed(found outcome) time.Duration {
	if p := found.problem; p != nil && (p.Reason == v1alpha1.ReasonRowExists || p.Reason == v1alpha1.ReasonUsernameTaken) {
		return slowLook
	}
	return 0
}

// roleShared is when to look again because somebody else may hold the role by then that the resource would take from the
// last one. Each protected role has one last holder at most, so that few ever wait.
func roleShared(found outcome) time.Duration {
	if found.spared {
		return sparedLook
	}
	return 0
}

// passwordExpiry is when to look again because the password will be older than it may become.
func passwordExpiry(found outcome) time.Duration {
	if found.observed == nil {
		return 0
	}
	left, known := found.observed.PasswordExpiry(found.desired)
	if !known || left <= 0 {
		return 0
	}
	return min(left, longestWait) + lockMargin
}

// secretPermitted is when to look again because we may be let make a Secret by then, or change one.
func secretPermitted(u *v1alpha1.ShardingUser, found outcome) time.Duration {
	if u.Spec.Password == nil || u.Spec.Password.Generate == nil || found.observed == nil {
		return 0
	}
	left, known := found.observed.PasswordExpiry(found.desired)
	if isRefusedSecret(u, found.problem) || (known && left <= 0) {
		return slowLook
	}
	return 0
}

// earliest is the shortest of these waits, of which zero is none.
func earliest(waits ...time.Duration) time.Duration {
	shortest := time.Duration(0)
	for _, wait := range waits {
		if wait != 0 && (shortest == 0 || wait < shortest) {
			shortest = wait
		}
	}
	return shortest
}
