// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// patience is how long a test waits for a condition.
const patience = 15 * time.Second

// conflicts expects that a change is rejected as a late one, and that it changed nothing.
func (s *subject) conflicts(t *testing.T, change user.Change) {
	t.Helper()
	row, note := s.Other.Columns(t, change.Username), s.observe(t, change.Username).Ownership
	if err := s.try(t.Context(), change); !errors.Is(err, store.ErrConflict) {
		t.Errorf("%s %q: want a conflict, got: %v", change.Verb, change.Username, err)
	}
	expect(t, "the row", s.Other.Columns(t, change.Username), row)
	expect(t, "the ownership record", s.observe(t, change.Username).Ownership, note)
}

func expect[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s is %+v, want %+v", what, got, want)
	}
}

// unchangedBut expects that a row is unchanged except for these columns.
func (s *subject) unchangedBut(t *testing.T, username string, before map[string]any, columns ...string) {
	t.Helper()
	after := s.Other.Columns(t, username)
	columns = slices.DeleteFunc(columns, func(column string) bool {
		_, kept := before[column]
		return !kept // not every store keeps every column
	})
	differing := []string{}
	for column := range before {
		if !reflect.DeepEqual(before[column], after[column]) {
			differing = append(differing, column)
		}
	}
	slices.Sort(differing)
	slices.Sort(columns)
	if !slices.Equal(differing, columns) {
		t.Errorf("columns %v changed, want %v; the row was %v and is %v", differing, columns, before, after)
	}
}

// told collects the usernames of which a subscriber is notified.
type told struct {
	mu        sync.Mutex
	usernames map[string]struct{}
}

// watch watches until the test ends.
func (s *subject) watch(t *testing.T) *told {
	t.Helper()
	w := &told{usernames: map[string]struct{}{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Store.Watch(ctx, func(usernames []string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, username := range usernames {
				w.usernames[username] = struct{}{}
			}
		}, func() {})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("Watch did not return when its context ended")
		}
	})
	return w
}

// forget drops the usernames so far.
func (w *told) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.usernames)
}

// has waits until all of the usernames were reported.
func (w *told) has(t *testing.T, usernames ...string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		w.mu.Lock()
		missing := slices.DeleteFunc(slices.Clone(usernames), func(name string) bool {
			_, ok := w.usernames[name]
			return ok
		})
		all := slices.Sorted(maps.Keys(w.usernames))
		w.mu.Unlock()
		if len(missing) == 0 {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("not notified of %q, only of %q", missing, all)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// near expects a time within a few seconds of another.
func near(t *testing.T, what string, got *time.Time, want time.Time) {
	t.Helper()
	if got == nil {
		t.Errorf("%s is missing, want about %v", what, want)
		return
	}
	if off := got.Sub(want).Abs(); off > 5*time.Second {
		t.Errorf("%s is %v, want about %v", what, *got, want)
	}
}

// parallel calls do n times at once and returns how many succeeded; every other has to be a conflict.
func parallel(t *testing.T, n int, do func(i int) error) int {
	t.Helper()
	start := make(chan struct{})
	results := make(chan error, n)
	for i := range n {
		go func() {
			<-start
			results <- do(i)
		}()
	}
	close(start)
	succeeded := 0
	for range n {
		switch err := <-results; {
		case err == nil:
			succeeded++
		case !errors.Is(err, store.ErrConflict):
			t.Errorf("want a conflict, got: %v", err)
		}
	}
	return succeeded
}
