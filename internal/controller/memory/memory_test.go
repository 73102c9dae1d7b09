// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func TestValuesStayUntilTheyExpireOrAreForgotten(t *testing.T) {
	at := time.Unix(0, 0)
	users := New(func() time.Time { return at })
	short, long := NewSlot[int](users, time.Minute), NewSlot[string](users, 0)
	var forgotten []types.UID
	users.OnForget(func(uid types.UID) { forgotten = append(forgotten, uid) })

	short.Put("alice", 1)
	long.Put("alice", "a")
	long.Put("bob", "b")
	short.Update("alice", func(n *int) { *n++ })
	if n, ok := short.Get("alice"); !ok || n != 2 {
		t.Errorf("alice has %d (%t)", n, ok)
	}
	if _, ok := short.Get("bob"); ok {
		t.Error("bob has a value that was not put")
	}
	if short.UpdateKnown("bob", func(n *int) { *n = 9 }) || !long.UpdateKnown("bob", func(s *string) { *s = "c" }) {
		t.Error("UpdateKnown does not know what is known")
	}

	at = at.Add(time.Minute)
	if _, ok := short.Get("alice"); ok {
		t.Error("a value is returned after its time")
	}
	short.Update("alice", func(n *int) { *n++ })
	if n, _ := short.Get("alice"); n != 1 {
		t.Errorf("an expired value was changed to %d", n)
	}
	at = at.Add(2 * pruneInterval)
	short.Put("carol", 3)
	if users.Len() != 3 || users.users["alice"][short.index] != nil {
		t.Errorf("kept are %v", users.users)
	}
	sum := 0
	short.Each(func(n *int) { sum += *n })
	if sum != 3 {
		t.Errorf("the values add up to %d", sum)
	}

	short.Drop("carol")
	users.Forget("alice")
	users.Forget("bob")
	if users.Len() != 0 || len(forgotten) != 2 {
		t.Errorf("after Forget there are %v, told were %v", users.users, forgotten)
	}
	if _, ok := long.Get("alice"); ok {
		t.Error("alice is remembered")
	}
}

func TestMapKeepsValuesForATime(t *testing.T) {
	at := time.Unix(0, 0)
	m := NewMap[string, int](func() time.Time { return at }, time.Minute)
	m.Put("a", 1)
	m.PutNew("a", 2)
	at = at.Add(time.Minute - 1)
	m.Change("a", func(value int) int { return value + 1 })
	m.Change("b", func(value int) int { return value + 1 })
	if value, ok := m.Get("a"); !ok || value != 2 || m.Len() != 1 {
		t.Errorf("a is %d (%t) of %d values, want 2", value, ok, m.Len())
	}
	at = at.Add(1)
	if _, ok := m.Get("a"); ok {
		t.Error("a was changed and lives longer")
	}
	m.PutNew("a", 5)
	if value, ok := m.Take("a"); !ok || value != 5 {
		t.Errorf("a is %d (%t), want 5", value, ok)
	}
	m.Put("b", 6)
	at = at.Add(2 * pruneInterval)
	m.Put("c", 7)
	if m.Remove("c"); m.Len() != 0 {
		t.Errorf("%d values are left", m.Len())
	}
}
