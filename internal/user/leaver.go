// SPDX-License-Identifier: Apache-2.0

package user

import (
	"slices"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Leaver is the ShardingUser by which policies judge an account whose resource is gone: it has the place and the username of the
// ownership record, the roles of the row, and asks to be retained, since that is what became of the account. It is nil where
// there is nothing to judge: no row that is active, or no record that says whose it was.
func Leaver(username string, o Observed) *v1alpha1.ShardingUser {
	if o.Row == nil || !o.Row.Active || o.Ownership == nil || o.Ownership.State == Deleted {
		return nil
	}
	u := &v1alpha1.ShardingUser{}
	u.Namespace, u.Name = o.Ownership.Owner.Namespace, o.Ownership.Owner.Name
	u.Spec.Username, u.Spec.DeletionPolicy = username, v1alpha1.DeletionRetain
	for _, role := range o.Row.Roles {
		u.Spec.Roles = append(u.Spec.Roles, v1alpha1.Role(role))
	}
	return u
}

// Suspension is the change that makes the account of a Leaver inactive. It endangers the protected roles that the row holds.
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

// HoldsRow reports whether the resource is paused and its row, or that of its predecessor, has other roles than it asks for, and is
// active or would be but for a policy.
func (d Desired) HoldsRow(o Observed) bool {
	own := o.Ownership
	return d.Paused && own != nil && own.State == Owned && own.Owner.samePlace(d.Owner) &&
		o.Row != nil && (o.Row.Active || own.Suspended) && !sameRoles(o.Row.Roles, d.Roles)
}
