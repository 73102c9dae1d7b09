// SPDX-License-Identifier: Apache-2.0

package user

import (
	"slices"
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Leaver returns a ShardingUser for policies to decide on an account whose resource is gone. It has the system,
// namespace, name and username of the ownership record, the roles of the row, and the deletion policy Retain, which is what happened to
// the account. It is nil if the row is missing or inactive, or has no recorded owner.
func Leaver(username string, o Observed) *v1alpha1.ShardingUser {
	if o.Row == nil || !o.Row.Active || o.Ownership == nil || o.Ownership.State == Deleted {
		return nil
	}
	u := &v1alpha1.ShardingUser{}
	u.Namespace, u.Name = o.Ownership.Owner.Namespace, o.Ownership.Owner.Name
	u.Spec.System = o.Ownership.Owner.System
	u.Spec.Username, u.Spec.DeletionPolicy = username, v1alpha1.DeletionRetain
	for _, role := range o.Row.Roles {
		u.Spec.Roles = append(u.Spec.Roles, v1alpha1.Role(role))
	}
	return u
}

// Suspension returns the change that deactivates the account of a Leaver. It endangers the protected roles of the row.
func Suspension(username string, o Observed, protected []string) Change {
	own := o.Ownership
	c := Change{
		Verb: Suspend, Username: username, Owner: own.Owner, Generation: own.Generation, Revision: own.Revision,
		Deletion: own.Deletion, Suspended: true, Lockout: own.Lockout,
	}
	for _, role := range protected {
		if slices.Contains(o.Row.Roles, role) {
			c.Endangered = append(c.Endangered, role)
		}
	}
	return c
}

// HoldsRow reports whether the resource is paused while its row, or that of its predecessor, has other roles than it
// asks for, or its record another end. The row is active, or would be without a policy's decision.
func (d Desired) HoldsRow(o Observed) bool {
	own := o.Ownership
	return d.Paused && own != nil && own.State == Owned && own.Owner.sameName(d.Owner) &&
		o.Row != nil && (o.Row.Active || own.Suspended) && (!sameRoles(o.Row.Roles, d.Roles) || !sameTime(o.HeldEnd(), d.ValidUntil))
}

// HeldEnd returns when the row of a paused resource ends; nil for never. A pause keeps a row active whose recorded end has
// passed, so that row has no end.
func (o Observed) HeldEnd() *time.Time {
	if o.Ownership == nil || o.Ownership.endedAt(o.Now) {
		return nil
	}
	return o.Ownership.ValidUntil
}
