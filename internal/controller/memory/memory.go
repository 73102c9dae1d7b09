// SPDX-License-Identifier: Apache-2.0

// Package memory holds what the process remembers about each user between two reconciles: Users, one expiring map with one
// Forget. No decision depends on it, so a restart loses nothing but time.
package memory

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// pruneInterval is the time between two searches for expired values.
const pruneInterval = time.Minute

// Users is the memory. Each room keeps its own kind of value in a Slot of it.
type Users struct {
	now func() time.Time

	mu       sync.Mutex
	users    map[types.UID]map[int]any // by user and slot
	slots    []pruner
	onForget []func(types.UID)
	pruned   time.Time
}

// pruner reports whether a value of a slot has expired.
type pruner func(value any, now time.Time) bool

// New returns an empty memory.
func New(now func() time.Time) *Users {
	return &Users{now: now, users: map[types.UID]map[int]any{}, pruned: now()}
}

// Forget drops all that is known about a user. It is called when the resource is gone.
func (u *Users) Forget(uid types.UID) {
	u.mu.Lock()
	delete(u.users, uid)
	hooks := u.onForget
	u.mu.Unlock()
	for _, forget := range hooks {
		forget(uid)
	}
}

// OnForget has forget called by each Forget, for what cannot be kept in a slot.
func (u *Users) OnForget(forget func(uid types.UID)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.onForget = append(u.onForget, forget)
}

// Len returns the number of users about whom something is known.
func (u *Users) Len() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.users)
}

// prune drops expired values, once in a while. It is called with the lock held.
func (u *Users) prune(now time.Time) {
	if now.Sub(u.pruned) < pruneInterval {
		return
	}
	u.pruned = now
	for uid, values := range u.users {
		for slot, value := range values {
			if u.slots[slot](value, now) {
				delete(values, slot)
			}
		}
		if len(values) == 0 {
			delete(u.users, uid)
		}
	}
}

// Slot is one kind of value in the memory.
type Slot[T any] struct {
	users *Users
	index int
}

// NewSlot adds a slot whose values expire when they were not changed for this long. With 0 they stay until Forget.
func NewSlot[T any](users *Users, keep time.Duration) *Slot[T] {
	users.mu.Lock()
	defer users.mu.Unlock()
	users.slots = append(users.slots, func(value any, now time.Time) bool {
		r, ok := value.(*remembered[T])
		return !ok || keep > 0 && now.Sub(r.at) >= keep
	})
	return &Slot[T]{users: users, index: len(users.slots) - 1}
}

// get is called with the lock held.
func (s *Slot[T]) get(uid types.UID) (*remembered[T], bool) {
	r, ok := s.users.users[uid][s.index].(*remembered[T])
	if !ok || s.users.slots[s.index](r, s.users.now()) {
		return nil, false
	}
	return r, true
}

// Get returns the value for a user, if there is one.
func (s *Slot[T]) Get(uid types.UID) (value T, ok bool) {
	s.users.mu.Lock()
	defer s.users.mu.Unlock()
	r, ok := s.get(uid)
	if !ok {
		return value, false
	}
	return r.value, true
}

// Put sets the value for a user.
func (s *Slot[T]) Put(uid types.UID, value T) { s.Update(uid, func(v *T) { *v = value }) }

// Update changes the value for a user, the zero value if there is none. The memory is locked meanwhile.
func (s *Slot[T]) Update(uid types.UID, change func(value *T)) {
	s.users.mu.Lock()
	defer s.users.mu.Unlock()
	now := s.users.now()
	s.users.prune(now)
	r, ok := s.get(uid)
	if !ok {
		r = &remembered[T]{}
		if s.users.users[uid] == nil {
			s.users.users[uid] = map[int]any{}
		}
		s.users.users[uid][s.index] = r
	}
	r.at = now
	change(&r.value)
}

// UpdateKnown is Update, but it adds no value where there is none. It reports whether there is one.
func (s *Slot[T]) UpdateKnown(uid types.UID, change func(value *T)) bool {
	s.users.mu.Lock()
	defer s.users.mu.Unlock()
	r, ok := s.get(uid)
	if ok {
		r.at = s.users.now()
		change(&r.value)
	}
	return ok
}

// Drop removes the value for a user.
func (s *Slot[T]) Drop(uid types.UID) {
	s.users.mu.Lock()
	defer s.users.mu.Unlock()
	delete(s.users.users[uid], s.index)
	if len(s.users.users[uid]) == 0 {
		delete(s.users.users, uid)
	}
}

// Each calls do with each value, in any order. The memory is locked meanwhile.
func (s *Slot[T]) Each(do func(value *T)) {
	s.users.mu.Lock()
	defer s.users.mu.Unlock()
	for uid := range s.users.users {
		if r, ok := s.get(uid); ok {
			do(&r.value)
		}
	}
}
