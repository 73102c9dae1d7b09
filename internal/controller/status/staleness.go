// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"
	"time"

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
	now func() time.Time

	mu      sync.Mutex
	written map[types.UID]write // our last one; gone once the cache has it
}

// write is one of ours.
type write struct {
	version string // the resourceVersion that it made
	at      time.Time
}

// catchUpTime is longer than a cache is behind. What is older for longer than that is not behind, but an API server
// that was restored from a backup and counts its versions anew.
const catchUpTime = 10 * time.Second

func newStaleness(now func() time.Time) *staleness {
	return &staleness{now: now, written: map[types.UID]write{}}
}

// wrote notes a write; the object is the one that the API server answered with.
func (s *staleness) wrote(o client.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written[o.GetUID()] = write{version: o.GetResourceVersion(), at: s.now()}
}

// isOlder reports whether a copy from the cache is older than our own last write.
func (s *staleness) isOlder(o client.Object) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	written, ok := s.written[o.GetUID()]
	if !ok {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(o.GetResourceVersion(), written.version)
	if err == nil && order < 0 && s.now().Sub(written.at) < catchUpTime {
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
