// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"sync"
	"time"
)

// remembered is a value and the time of its last change.
type remembered[T any] struct {
	value T
	at    time.Time
}

// Map is an expiring map, for what is not remembered by the UID of a user.
type Map[K comparable, V any] struct {
	now  func() time.Time
	keep time.Duration

	mu     sync.Mutex
	values map[K]remembered[V]
	pruned time.Time
}

// NewMap returns an empty map whose values expire this long after they were put. With 0 they stay until Remove.
func NewMap[K comparable, V any](now func() time.Time, keep time.Duration) *Map[K, V] {
	return &Map[K, V]{now: now, keep: keep, values: map[K]remembered[V]{}, pruned: now()}
}

// Get returns the value of a key, if there is one.
func (m *Map[K, V]) Get(key K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.get(key)
	return r.value, ok
}

// get is called with the lock held.
func (m *Map[K, V]) get(key K) (remembered[V], bool) {
	r, ok := m.values[key]
	if !ok || m.hasExpired(r, m.now()) {
		return remembered[V]{}, false
	}
	return r, true
}

func (m *Map[K, V]) hasExpired(r remembered[V], now time.Time) bool {
	return m.keep > 0 && now.Sub(r.at) >= m.keep
}

// Put sets the value of a key.
func (m *Map[K, V]) Put(key K, value V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(key, value)
}

// PutNew sets the value of a key that has none.
func (m *Map[K, V]) PutNew(key K, value V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.get(key); !ok {
		m.put(key, value)
	}
}

// put is called with the lock held. Once in a while it drops expired values.
func (m *Map[K, V]) put(key K, value V) {
	now := m.now()
	m.values[key] = remembered[V]{value: value, at: now}
	if now.Sub(m.pruned) < pruneInterval {
		return
	}
	m.pruned = now
	for key, r := range m.values {
		if m.hasExpired(r, now) {
			delete(m.values, key)
		}
	}
}

// Change changes the value of a key that has one. The time of its expiry stays.
func (m *Map[K, V]) Change(key K, change func(V) V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.get(key); ok {
		m.values[key] = remembered[V]{value: change(r.value), at: r.at}
	}
}

// Take removes and returns the value of a key, if there is one.
func (m *Map[K, V]) Take(key K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.get(key)
	delete(m.values, key)
	return r.value, ok
}

// Remove removes the value of a key.
func (m *Map[K, V]) Remove(key K) { m.Take(key) }

// Len returns the number of values, with expired ones that were not dropped yet.
func (m *Map[K, V]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.values)
}
