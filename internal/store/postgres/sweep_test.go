// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"fmt"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/backoff"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/observer"
)

// digestsOf returns the digest of each row, as a sweep reads it.
func digestsOf(t *testing.T, s *Store) map[string]int64 {
	t.Helper()
	var digests map[string]int64
	err := (&observed{Store: s}).ReadDigests(t.Context(), func(bool) { digests = map[string]int64{} },
		func(username []byte, digest int64) { digests[string(username)] = digest })
	if err != nil {
		t.Fatal(err)
	}
	return digests
}

func TestTheDigestShowsEachKindOfChange(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	before := digestsOf(t, s)
	expect := func(what string, want ...string) {
		t.Helper()
		after := digestsOf(t, s)
		var differ []string
		for username, digest := range after {
			if known, ok := before[username]; !ok || known != digest {
				differ = append(differ, username)
			}
		}
		for username := range before {
			if _, ok := after[username]; !ok {
				differ = append(differ, username)
			}
		}
		if slices.Sort(differ); !slices.Equal(differ, want) {
			t.Errorf("%s: %q differ, want %q", what, differ, want)
		}
		before = after
	}
	expect("no change")
	run(t, pool, insert, "alice")
	run(t, pool, insert, "Élodie")
	expect("two new rows", "alice", "Élodie")
	for _, sql := range []string{
		"UPDATE users SET roles = '[\"x\"]' WHERE username = 'alice'",
		"UPDATE users SET failed_login_attempts = 3 WHERE username = 'alice'",
		"UPDATE users SET last_login_at = now() WHERE username = 'alice'",
		"UPDATE users SET locked_until = now() WHERE username = 'alice'",
		"DELETE FROM users WHERE username = 'alice'",
		"INSERT INTO users (username, password_hash) VALUES ('alice', '!')",
	} {
		run(t, pool, sql)
		expect(sql, "alice")
	}
	if _, err := s.Apply(t.Context(), creation("bob")); err != nil {
		t.Fatal(err)
	}
	expect("a row of the operator", "bob")
	run(t, pool, "DELETE FROM users WHERE username = 'bob'") // and leaves the ownership record
	expect("a row that is gone", "bob")
	run(t, pool, "UPDATE users SET username = 'carol' WHERE username = 'alice'")
	expect("another username", "alice", "carol")
	expect("no change")
}

// sweepCounter counts the sweeps among the statements of a pool.
type sweepCounter struct{ sweeps atomic.Int32 }

func (c *sweepCounter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if data.SQL == rowDigests {
		c.sweeps.Add(1)
	}
	return ctx
}

func (c *sweepCounter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestEmptyNotificationsAreCoalescedIntoFewSweeps(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	var counter sweepCounter
	settings := listening(dsn)
	settings.Tracer = &counter
	s := open(t, settings)
	s.observer.Timing.Requests = 500 * time.Millisecond
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := watch(t, s)
	eventually(t, "the store is notifying", notified(s))
	pool := connect(t, dsn)
	run(t, pool, insert, "alice")
	w.told(t, "alice")
	before, began := counter.sweeps.Load(), time.Now()
	for range 200 {
		run(t, pool, "SELECT pg_notify($1, '')", observer.RowsChannel)
	}
	w.forget()
	run(t, pool, "UPDATE users SET failed_login_attempts = 1")
	run(t, pool, "SELECT pg_notify($1, '')", observer.RowsChannel)
	w.told(t, "alice")
	most := 2 + int32(time.Since(began)/s.observer.Timing.Requests) //nolint:gosec // a few
	if n := counter.sweeps.Load() - before; n < 1 || n > most {
		t.Errorf("%d sweeps, want 1 to %d", n, most)
	}
}

func TestAPayloadThatCannotBeAUsernameIsDropped(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, listening(dsn))
	w := watch(t, s)
	eventually(t, "the store is notifying", notified(s))
	pool := connect(t, dsn)
	for _, payload := range []string{strings.Repeat("x", 7900), strings.Repeat("é", 256)} {
		run(t, pool, "SELECT pg_notify($1, $2)", observer.RowsChannel, payload)
	}
	run(t, pool, insert, "alice")
	w.told(t, "alice")
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.times) != 1 {
		t.Errorf("reported are %d names, want of alice alone", len(w.times))
	}
}

// A lock of the ownership records keeps the sweep from reading.
func TestNotificationsPassWhileASweepRuns(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, listening(dsn))
	w := watch(t, s)
	eventually(t, "the store is notifying", notified(s))
	pool := connect(t, dsn)
	tx := hold(t, pool, "LOCK TABLE shardinguser_ownership")
	run(t, pool, "SELECT pg_notify($1, '')", observer.RowsChannel)
	waits(t, pool, 1)
	for n := range 20 {
		username := fmt.Sprint("user-", n)
		run(t, pool, insert, username)
		w.told(t, username)
	}
	if !s.Health().Notified || !s.Health().Current {
		t.Errorf("notifying is %t, and current is %t", s.Health().Notified, s.Health().Current)
	}
	commit(t, tx)
}

func TestASubscriberThatIsStuckHoldsUpNoNotificationOfAnother(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, listening(dsn))
	pool := connect(t, dsn)
	run(t, pool, "INSERT INTO users (username, password_hash) SELECT 'user-' || n, '!' FROM generate_series(1, 30000) n")
	stuck, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	slow := &watched{times: map[string]int{}}
	watchUntil(t, s, func(usernames []string) {
		once.Do(func() {
			close(stuck)
			<-release
		})
		slow.changed(usernames)
	})
	t.Cleanup(sync.OnceFunc(func() { close(release) }))
	<-stuck
	eventually(t, "it listens", func() bool { return listeners(t, pool) == 1 })
	quick := watch(t, s)
	for n := range 20 {
		username := fmt.Sprint("new-", n)
		run(t, pool, insert, username)
		quick.told(t, username)
	}
}

func TestEachSubscriberIsNotifiedOnceOfTheEndOfTheRows(t *testing.T) {
	t.Parallel()
	for name, rows := range map[string]int{"no row": 0, "one row": 1, "some pages of rows": 10_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := databaseWithSchema(t)
			s := ready(t, quick(dsn))
			pool := connect(t, dsn)
			run(t, pool, "INSERT INTO users (username, password_hash) SELECT 'user-' || n, '!' FROM generate_series(1, $1) n", rows)
			for _, watcher := range []string{"the first", "a late one"} {
				var known, ends, late atomic.Int32
				watchUntil(t, s, func(usernames []string) {
					switch {
					case len(usernames) == 0:
						ends.Add(1)
					case ends.Load() == 0:
						known.Add(int32(len(usernames))) //nolint:gosec // some thousand
					default:
						late.Add(1)
					}
				})
				eventually(t, watcher+" knows all", func() bool { return ends.Load() > 0 })
				if n := known.Load(); n < int32(rows) { //nolint:gosec // some thousand
					t.Errorf("%s had %d names before the end, want %d", watcher, n, rows)
				}
				username := "new of " + watcher
				run(t, pool, insert, username)
				eventually(t, watcher+" is notified of a new row", func() bool { return late.Load() > 0 })
				if n := ends.Load(); n != 1 {
					t.Errorf("%s was notified %d times that these were all", watcher, n)
				}
			}
		})
	}
}

// heapObjects returns the size of the live and the not yet swept objects of the heap.
func heapObjects() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// It is not parallel: what other tests allocate would count.
func TestSweepsOfAMillionRowsTakeLittleMemory(t *testing.T) {
	rows, mostKept, mostAtOnce := 1_000_000, int64(64<<20), int64(192<<20)
	if testing.Short() {
		rows, mostKept, mostAtOnce = 100_000, 8<<20, 48<<20
	}
	dsn := databaseWithSchema(t)
	s := ready(t, listening(dsn))
	pool := connect(t, dsn)
	for _, sql := range []string{"SET UNLOGGED", "DISABLE TRIGGER USER"} { // or filling it takes far longer
		run(t, pool, "ALTER TABLE users "+sql)
	}
	run(t, pool, "DROP INDEX idx_users_active")
	run(t, pool, "INSERT INTO users (username, password_hash) "+
		"SELECT 'user-' || lpad(n::text, 7, '0') || '@example.com', '!' FROM generate_series(1, $1::int) n", rows)
	run(t, pool, "ALTER TABLE users ENABLE TRIGGER USER")

	runtime.GC()
	before := heapObjects()
	var peak atomic.Uint64
	background(t, func(ctx context.Context) {
		for backoff.Pause(ctx, time.Millisecond) {
			peak.Store(max(peak.Load(), heapObjects()))
		}
	})
	var told, ends atomic.Int64
	for range 2 { // as the controller and the account cache
		watchUntil(t, s, func(usernames []string) {
			told.Add(int64(len(usernames)))
			if len(usernames) == 0 {
				ends.Add(1)
			}
		})
	}
	eventually(t, "all is told", func() bool { return ends.Load() == 2 })
	if n := told.Load(); n < int64(2*rows) {
		t.Errorf("reported are %d names, want %d", n, 2*rows)
	}
	eventually(t, "the store is notifying", notified(s))
	for n := range 2 {
		run(t, pool, "UPDATE users SET failed_login_attempts = $1 WHERE username = 'user-0000007@example.com'", n+1)
		run(t, pool, "SELECT pg_notify($1, '')", observer.RowsChannel)
		was := told.Load()
		eventually(t, "a sweep reports the change", func() bool { return told.Load() >= was+2 })
	}
	runtime.GC()
	kept := int64(heapObjects()) - int64(before) //nolint:gosec // far below the bound
	atOnce := int64(peak.Load()) - int64(before) //nolint:gosec // far below the bound
	t.Logf("%d rows: %d MiB are kept, %d MiB at once", rows, kept>>20, atOnce>>20)
	if kept > mostKept || atOnce > mostAtOnce {
		t.Errorf("%d MiB are kept and %d MiB at once, want at most %d and %d", kept>>20, atOnce>>20, mostKept>>20, mostAtOnce>>20)
	}
}
