// SPDX-License-Identifier: Apache-2.0

package status

import (
	"time"

	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/internal/controller/memory"
)

// Staleness detects cached copies of a resource that are older than the operator's last write of it. Against such a copy a
// reconcile could find no difference where there is one. No later event would correct that, since status writes cause no
// reconcile.
//
// (controller-runtime's client can wait for its own writes, but not yet with several watched namespaces.)
type Staleness struct {
	written *memory.Slot[string] // the resourceVersion of the last write; gone once the cache has it
}

// catchUpTime is longer than a cache is behind. An older version after that time is of an API server that was restored from a
// backup and counts versions from an earlier one.
const catchUpTime = 10 * time.Second

// NewStaleness returns a Staleness that knows of no write.
func NewStaleness(users *memory.Users) *Staleness {
	return &Staleness{written: memory.NewSlot[string](users, catchUpTime)}
}

// Wrote records a write, by the object as the API server returned it.
func (s *Staleness) Wrote(o client.Object) { s.written.Put(o.GetUID(), o.GetResourceVersion()) }

// IsStale reports whether a cached copy is older than the last write.
func (s *Staleness) IsStale(o client.Object) bool {
	written, ok := s.written.Get(o.GetUID())
	if !ok {
		return false
	}
	if order, err := resourceversion.CompareResourceVersion(o.GetResourceVersion(), written); err == nil && order < 0 {
		return true
	}
	s.written.Drop(o.GetUID())
	return false
}
