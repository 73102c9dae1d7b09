// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// newcomerTime is longer than the API server takes for any deletion that it began before the finalizer was there.
const newcomerTime = time.Minute

// unfinished remembers resources whose rows may have to be seen to although they are gone:
//
//   - For a while those whose finalizer was put on just now. The API server decides whether a deletion has to wait
//     before it deletes: one that had begun by then takes the resource away, finalizer and all.
//   - Until it is done those that were let go while the database was away, as the policy Retain wants it: their rows
//     have to be released when it is back.
type unfinished struct {
	now func() time.Time

	mu     sync.Mutex
	by     map[client.ObjectKey]reminder
	pruned time.Time
}

// reminder is a copy of a resource, and until when it is worth remembering; the zero time is for ever.
type reminder struct {
	user  *v1alpha1.ShardingUser
	until time.Time
}

func newUnfinished(now func() time.Time) *unfinished {
	return &unfinished{now: now, by: map[client.ObjectKey]reminder{}, pruned: now()}
}

// add remembers a resource for a time; 0 is until forget.
func (f *unfinished) add(u *v1alpha1.ShardingUser, limit time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	r := reminder{user: u.DeepCopy()}
	if limit > 0 {
		r.until = now.Add(limit)
	}
	f.by[client.ObjectKeyFromObject(u)] = r
	if now.Sub(f.pruned) < newcomerTime {
		return
	}
	f.pruned = now
	for key, r := range f.by {
		if !r.until.IsZero() && !now.Before(r.until) {
			delete(f.by, key)
		}
	}
}

// refresh replaces the copy of a resource that is remembered.
func (f *unfinished) refresh(u *v1alpha1.ShardingUser) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := client.ObjectKeyFromObject(u)
	if r, ok := f.by[key]; ok && r.user.UID == u.UID {
		r.user = u.DeepCopy()
		f.by[key] = r
	}
}

// get is a copy of the resource that is remembered under a name; nil where there is none.
func (f *unfinished) get(key client.ObjectKey) *v1alpha1.ShardingUser {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.by[key].user.DeepCopy() // nil is nil's copy
}

// forget drops a resource.
func (f *unfinished) forget(u *v1alpha1.ShardingUser) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.by, client.ObjectKeyFromObject(u))
}
