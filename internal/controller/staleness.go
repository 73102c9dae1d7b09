// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// staleness tells copies of a resource that are older than our own last write of it. A status computed against such a
// copy could find nothing to write where there is something, and no later event would put that right, since status
// writes cause no reconcile.
//
// (The client of controller-runtime can wait for its own writes by itself, but not yet where several namespaces are
// watched.)
type staleness struct {
	mu      sync.Mutex
	written map[types.UID]string // the resourceVersion of our last write; gone once the cache has it
}

func newStaleness() *staleness { return &staleness{written: map[types.UID]string{}} }

// wrote notes a write; the object is the one that the API server answered with.
func (s *staleness) wrote(o client.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written[o.GetUID()] = o.GetResourceVersion()
}

// isOlder reports whether a copy from the cache is older than our own last write.
func (s *staleness) isOlder(o client.Object) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	written, ok := s.written[o.GetUID()]
	if !ok {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(o.GetResourceVersion(), written)
	if err == nil && order < 0 {
		return true
	}
	delete(s.written, o.GetUID())
	return false
}

// forget drops what is known of a resource that is gone.
func (s *staleness) forget(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.written, uid)
}
