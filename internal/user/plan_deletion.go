// SPDX-License-Identifier: Apache-2.0

package user

import (
	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// planDeletion plans for the row of a resource that is being deleted.
func planDeletion(d Desired, o Observed) Decision {
	if !o.OwnedBy(d.Owner) {
		return planBurial(d, o)
	}
	if d.Paused && d.Deletion != v1alpha1.DeletionRetain {
		if d.Permission.Refusal != nil && o.Row != nil && o.Row.Active {
			return planSuspension(d, o)
		}
		return refuse(v1alpha1.ReasonPaused, "The deletion is paused while the annotation "+
			v1alpha1.AnnotationPaused+" is \"true\"; remove the annotation to resume.")
	}
	c := newChange(d, o, ending(d, o, d.Deletion))
	if c.Verb != Release {
		c.Endangered = endangered(d, o, nil)
	}
	return Decision{Change: c, Confirm: o.Ownership.Generation > d.Generation}
}

// planBurial plans for a username that the deleted resource does not own. Another process with an old copy of the
// resource could be about to create the row, which must fail.
func planBurial(d Desired, o Observed) Decision {
	own := o.Ownership
	if own != nil && (own.State == Owned || own.Owner.Is(d.Owner)) {
		return Decision{Change: newChange(d, o, Nothing)}
	}
	return Decision{Change: newChange(d, o, Bury)}
}

// ending returns what happens to the row of a deleted resource. Without a permission no active row stays, because no
// reconcile would check the policies for it. Nor does one whose end has passed: a released record has no end, so logins
// would be accepted again.
func ending(d Desired, o Observed, policy v1alpha1.DeletionPolicy) Verb {
	switch policy {
	case v1alpha1.DeletionRetain:
		if d.Permission.Refusal != nil || o.Ended() && o.Row != nil && o.Row.Active {
			return Deactivate
		}
		return Release
	case v1alpha1.DeletionDeactivate:
		return Deactivate
	case v1alpha1.DeletionDelete:
	}
	return Delete
}
