// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// newcomerTime is longer than the API server takes for any deletion that it began before the finalizer was there.
const newcomerTime = time.Minute

// newcomers remembers resources for a while from when their finalizer was put on. The API server decides whether a
// deletion has to wait before it deletes: one that had begun by then takes the resource away, finalizer and all, and
// nobody would see to the row.
type newcomers struct {
	now func() time.Time

	mu     sync.Mutex
	by     map[types.NamespacedName]newcomer
	pruned time.Time
}

type newcomer struct {
	user  *v1alpha1.ShardingUser
	since time.Time
}

func newNewcomers(now func() time.Time) *newcomers {
	return &newcomers{now: now, by: map[types.NamespacedName]newcomer{}, pruned: now()}
}

// add notes a resource whose finalizer was put on just now.
func (n *newcomers) add(u *v1alpha1.ShardingUser) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	n.by[types.NamespacedName{Namespace: u.Namespace, Name: u.Name}] = newcomer{u.DeepCopy(), now}
	if now.Sub(n.pruned) < newcomerTime {
		return
	}
	n.pruned = now
	for key, c := range n.by {
		if now.Sub(c.since) >= newcomerTime {
			delete(n.by, key)
		}
	}
}

// get is a copy of the newcomer of this name; nil where there is none.
func (n *newcomers) get(key types.NamespacedName) *v1alpha1.ShardingUser {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.by[key].user.DeepCopy() // nil is nil's copy
}

// forget drops what is known of a name.
func (n *newcomers) forget(key types.NamespacedName) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.by, key)
}
