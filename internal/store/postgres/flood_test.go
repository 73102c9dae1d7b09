// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/observer"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// residentMemory is what the Go runtime has from the system and has not given back.
func residentMemory() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.Sys - stats.HeapReleased
}

// counted counts the statements that contain a text.
type counted struct {
	text  string
	count atomic.Int64
}

func (c *counted) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.Contains(data.SQL, c.text) {
		c.count.Add(1)
	}
	return ctx
}

func (c *counted) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// flood sends so many notifications by one role without any right, and calls between every thousand.
func flood(t *testing.T, admin string, count int, payload string, between func()) {
	t.Helper()
	pool := connect(t, testenv.Role(t, admin))
	const batch = 1000
	for first := 0; first < count; first += batch {
		run(t, pool, "SELECT pg_notify('shardinguser_rows', "+payload+") FROM generate_series($1::int, $2::int) AS n", first, first+batch-1)
		between()
	}
}

// It does not run beside others: the memory of the process is measured.
func TestHalfAGigabyteOfNotificationsMovesTheMemoryLittle(t *testing.T) {
	batches, most := 60, uint64(50)
	if testing.Short() {
		batches, most = 15, 25
	}
	for name, payload := range map[string]string{
		"payloads that are no usernames":  "repeat('x', 7900) || n",
		"names that nobody has":           "repeat('n', 240) || n",
		"names of four bytes a character": "repeat(U&'\\+01F600', 240) || n",
	} {
		t.Run(name, func(t *testing.T) {
			admin := databaseWithSchema(t)
			s := ready(t, quick(admin))
			pool := connect(t, admin)
			run(t, pool, insert, "alice")
			w := watch(t, s)
			w.told(t, "alice")
			eventually(t, "notifications pass", notified(s))
			w.forget()
			debug.FreeOSMemory()
			before, peak := residentMemory(), uint64(0)
			n := 0
			flood(t, admin, batches*1000, payload, func() {
				if n++; n == batches/2 {
					run(t, pool, "UPDATE users SET active = false WHERE username = 'alice'")
				}
				if n == batches { // the pipe is empty when the last one has arrived
					w.told(t, "alice")
				}
				peak = max(peak, residentMemory())
				w.forgetOthers("alice")
			})
			moved := (max(peak, before) - before) >> 20
			t.Logf("the memory moved by %d MiB", moved)
			if moved >= most {
				t.Errorf("the memory moved by %d MiB, want less than %d", moved, most)
			}
			eventually(t, "notifications still pass", notified(s))
		})
	}
}

// forgetOthers forgets all names but this one.
func (w *watched) forgetOthers(username string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name := range w.times {
		if name != username {
			delete(w.times, name)
		}
	}
}

func TestEmptyNotificationsCauseOneSweepAnInterval(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	sweeps := &counted{text: "hashtextextended"}
	settings := quick(admin)
	settings.PollInterval, settings.ResyncInterval, settings.Tracer = 2*time.Second, time.Hour, sweeps
	s := ready(t, settings)
	s.observer.Timing.Requests = observer.UsualTiming().Requests // as outside of tests; nobody watches yet
	run(t, connect(t, admin), "INSERT INTO users (username, password_hash) SELECT 'user-' || n, '!' FROM generate_series(1, 10000) n")
	w := watch(t, s)
	w.told(t, "user-10000")
	eventually(t, "notifications pass", notified(s))
	before, began := sweeps.count.Load(), time.Now()
	pool := connect(t, testenv.Role(t, admin))
	for range 200 {
		run(t, pool, "NOTIFY shardinguser_rows")
	}
	eventually(t, "a sweep comes", func() bool { return sweeps.count.Load() > before })
	run(t, pool, "NOTIFY shardinguser_rows")
	most := int64(time.Since(began)/settings.PollInterval) + 1
	if swept := sweeps.count.Load() - before; swept > most {
		t.Errorf("%d sweeps came in %s, want %d at most", swept, time.Since(began), most)
	}
}
