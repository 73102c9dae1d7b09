// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// listeners counts the connections that listen to the database.
func listeners(t *testing.T, pool *pgxpool.Pool) int {
	t.Helper()
	return value[int](t, pool, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "+
		"AND (query LIKE 'LISTEN%' OR query LIKE '-- ping')")
}

// watchUntil watches until stop is called, which returns when the subscriber has ended.
func watchUntil(t *testing.T, s *Store, changed func(usernames []string)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Watch(ctx, changed, func() {})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

func TestSubscribersShareOneListeningConnection(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, listening(dsn))
	pool := connect(t, dsn)
	run(t, pool, insert, "alice")
	watchers := []*watched{watch(t, s), watch(t, s), watch(t, s)}
	for i, username := range []string{"alice", "bob", "carol"} {
		eventually(t, "the store is notifying", notified(s))
		if i > 0 {
			run(t, pool, insert, username)
		}
		for _, w := range watchers {
			w.told(t, username)
		}
		if n := listeners(t, pool); n != 1 {
			t.Errorf("%d connections listen, want 1", n)
		}
		run(t, pool, cutListeners)
		eventually(t, "another one listens", func() bool { return listeners(t, pool) == 1 })
	}
}

func TestALateSubscriberGetsAllThatIsKnownAtOnce(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, listening(dsn)) // no sweep comes again
	pool := connect(t, dsn)
	run(t, pool, insert, "alice")
	if _, err := s.Apply(t.Context(), creation("bob")); err != nil {
		t.Fatal(err)
	}
	run(t, pool, "DELETE FROM users WHERE username = 'bob'") // and leaves the ownership record
	first := watch(t, s)
	eventually(t, "the store is notifying", notified(s))
	run(t, pool, insert, "carol") // of whom a notification told, and no sweep
	first.told(t, "carol")
	first.forget()

	late := watch(t, s)
	for _, username := range []string{"alice", "bob", "carol"} {
		late.told(t, username)
	}
	run(t, pool, insert, "dave")
	late.told(t, "dave")
	first.told(t, "dave")
	if n := first.of("alice"); n != 0 {
		t.Errorf("the first one was told again %d times", n)
	}
}

func TestNoChangeIsLostWhileSubscribersCome(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, listening(dsn))
	watch(t, s)
	eventually(t, "the store is notifying", notified(s))
	pool := connect(t, dsn)
	writing := start(func() (struct{}, error) {
		for i := range 200 {
			if _, err := pool.Exec(t.Context(), insert, fmt.Sprintf("user-%d", i)); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	var late []*watched
	for range 10 {
		late = append(late, watch(t, s))
	}
	if _, err := writing.wait(t); err != nil {
		t.Fatal(err)
	}
	for _, w := range late {
		for i := range 200 {
			w.told(t, fmt.Sprintf("user-%d", i))
		}
	}
}

func TestSubscribersLeaveInAnyOrderAndTheLastOneEndsTheListening(t *testing.T) {
	t.Parallel()
	for name, order := range map[string][]int{"the first one first": {0, 1, 2}, "the last one first": {2, 1, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := databaseWithSchema(t)
			s := ready(t, listening(dsn))
			pool := connect(t, dsn)
			for range 2 { // the second time from the beginning
				var told []*watched
				var stops []func()
				for range order {
					w := &watched{times: map[string]int{}}
					told, stops = append(told, w), append(stops, watchUntil(t, s, w.changed))
				}
				eventually(t, "the store is notifying", notified(s))
				for n, i := range order {
					stops[i]()
					username := fmt.Sprintf("user-%d", n)
					run(t, pool, "DELETE FROM users WHERE username = $1", username)
					run(t, pool, insert, username)
					for _, other := range order[n+1:] {
						told[other].told(t, username)
					}
				}
				if s.Health().Notified {
					t.Error("it says that it is notifying")
				}
				eventually(t, "nobody listens", func() bool { return listeners(t, pool) == 0 })
			}
		})
	}
}

func TestASlowSubscriberDelaysNoOtherAndLosesNothing(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, listening(dsn))
	pool := connect(t, dsn)
	run(t, pool, insert, "alice")
	busy, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	slow := &watched{times: map[string]int{}}
	watchUntil(t, s, func(usernames []string) {
		once.Do(func() {
			close(busy)
			<-release
		})
		slow.changed(usernames)
	})
	<-busy
	quick := watch(t, s)
	eventually(t, "the store is notifying", notified(s))
	for i := range 100 {
		username := fmt.Sprintf("user-%d", i)
		run(t, pool, insert, username)
		quick.told(t, username)
	}
	if n := slow.of("user-0"); n != 0 {
		t.Errorf("the slow one was notified %d times while it was busy", n)
	}
	close(release)
	slow.told(t, "alice")
	for i := range 100 {
		slow.told(t, fmt.Sprintf("user-%d", i))
	}
}

func TestSubscribersThatComeAndGoShareOneConnection(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, listening(dsn))
	pool := connect(t, dsn)
	var coming sync.WaitGroup
	for range 4 {
		coming.Go(func() {
			for range 15 {
				watchUntil(t, s, func([]string) {})()
			}
		})
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		coming.Wait()
	}()
	for done := false; !done; {
		select {
		case <-gone:
			done = true
		default:
			if n := listeners(t, pool); n > 2 { // one that was closed may still be there for the server
				t.Errorf("%d connections listen", n)
			}
		}
	}
	w := watch(t, s)
	run(t, pool, insert, "alice")
	w.told(t, "alice")
}
