// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

func TestPossibleOrphansAreRememberedAsLongAsNeeded(t *testing.T) {
	at := time.Unix(0, 0)
	o := newPossibleOrphans(func() time.Time { return at })
	added, orphan := resource("a", "1"), resource("b", "1")
	added.Name, orphan.Name = "added", "orphan"
	o.added(added)
	o.release(orphan)

	newer := added.DeepCopy()
	newer.Spec.DeletionPolicy = v1alpha1.DeletionRetain
	o.refresh(newer)
	o.refresh(resource("c", "1"))
	if got := o.get(client.ObjectKeyFromObject(added)); got == nil || got.Spec.DeletionPolicy != v1alpha1.DeletionRetain {
		t.Errorf("the copy is %v, want its newer copy", got)
	}
	another := resource("d", "1")
	another.Name = added.Name
	o.refresh(another)
	if got := o.get(client.ObjectKeyFromObject(added)); got.UID != "a" {
		t.Error("a resource of the same name took the place of the orphan")
	}

	at = at.Add(2 * newResourceTime)
	o.added(resource("e", "1"))
	if o.get(client.ObjectKeyFromObject(added)) != nil {
		t.Error("a resource with a finalizer is remembered forever")
	}
	if o.get(client.ObjectKeyFromObject(orphan)) == nil {
		t.Error("an orphan that was not handled is forgotten")
	}
	o.remove(orphan)
	if o.fresh.Len()+o.released.Len() != 1 {
		t.Errorf("%d are remembered, want 1", o.fresh.Len()+o.released.Len())
	}
}
