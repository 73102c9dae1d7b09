// SPDX-License-Identifier: Apache-2.0

// Package memory holds what the process remembers between two reconciles: Users, one expiring map for each user with one
// Forget, and Map, for other keys. It delays or saves work. After a restart everything is tried once more.
package memory

import (
	"slices"
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
	users    map[types.UID][]any // by slot; nil where there is no value
	slots    []pruner
	onForget []func(types.UID)
	pruned   time.Time
}

// pruner reports whether a value of a slot has expired.
type pruner func(value any, now time.Time) bool

// New returns an empty memory.
func New(now func() time.Time) *Users {
	return &Users{now: now, users: map[types.UID][]any{}, pruned: now()}
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

// OnForget makes each Forget call forget, for what cannot be kept in a slot.
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
			if value != nil && u.slots[slot](value, now) {
				values[slot] = nil
			}
		}
		u.dropIfEmpty(uid)
	}
}

// dropIfEmpty is called with the lock held.
func (u *Users) dropIfEmpty(uid types.UID) {
	if !slices.ContainsFunc(u.users[uid], func(value any) bool { return value != nil }) {
		delete(u.users, uid)
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
	values := s.users.users[uid]
	if s.index >= len(values) {
		return nil, false
	}
	r, ok := values[s.index].(*remembered[T])
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
		s.set(uid, r)
	}
	r.at = now
	change(&r.value)
}

// set is called with the lock held.
func (s *Slot[T]) set(uid types.UID, r *remembered[T]) {
	values := s.users.users[uid]
	if s.index >= len(values) {
		values = append(values, make([]any, len(s.users.slots)-len(values))...)
		s.users.users[uid] = values
	}
	values[s.index] = r
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
	if values := s.users.users[uid]; s.index < len(values) {
		values[s.index] = nil
		s.users.dropIfEmpty(uid)
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
