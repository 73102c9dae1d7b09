// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// A write is a row that a node acknowledged.
type write struct {
	id         int
	began, end time.Time
}

// writers write to both nodes all the time, directly. They show when each node accepts writes, and what it loses.
type writers struct {
	dsn   string // by HAProxy
	stop  context.CancelFunc
	ended sync.WaitGroup

	mu     sync.Mutex
	next   int
	writes map[*testenv.PatroniNode][]write
}

func newWriters(t *testing.T) *writers {
	t.Helper()
	dsn, err := pair.Server().NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &writers{dsn: dsn, writes: map[*testenv.PatroniNode][]write{}}
	if err := w.query(t.Context(), dsn, `CREATE TABLE writes (id int PRIMARY KEY)`, nil); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	w.stop = stop
	t.Cleanup(w.end)
	for _, node := range pair.Nodes {
		direct, err := node.On(dsn)
		if err != nil {
			t.Fatal(err)
		}
		w.ended.Go(func() {
			tick := time.NewTicker(poll)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					w.write(ctx, node, direct)
				}
			}
		})
	}
	return w
}

func (w *writers) end() {
	w.stop()
	w.ended.Wait()
}

// write tries one row. Only an acknowledgement without a warning counts: Postgres warns of a commit that the standby may lack.
func (w *writers) write(ctx context.Context, node *testenv.PatroniNode, dsn string) {
	w.mu.Lock()
	w.next++
	attempt := write{id: w.next, began: time.Now()}
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := w.query(ctx, dsn, `INSERT INTO writes VALUES ($1)`, nil, attempt.id); err != nil {
		return
	}
	attempt.end = time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes[node] = append(w.writes[node], attempt)
}

// query runs a statement on a connection of its own, and collects its first column if into is not nil.
func (w *writers) query(ctx context.Context, dsn, statement string, into *[]int, args ...any) error {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return err
	}
	warned := false
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		warned = warned || notice.SeverityUnlocalized == "WARNING"
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	if into != nil {
		found, err := conn.Query(ctx, statement, args...)
		if err != nil {
			return err
		}
		*into, err = pgx.CollectRows(found, pgx.RowTo[int])
		return err
	}
	if _, err := conn.Exec(ctx, statement, args...); err != nil {
		return err
	}
	if warned {
		return errors.New("the standby may lack the commit")
	}
	return nil
}

// promoted returns when the node first acknowledged a write; the zero time if it has not.
func (w *writers) promoted(node *testenv.PatroniNode) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.writes[node]) == 0 {
		return time.Time{}
	}
	return w.writes[node][0].end
}

// check fails the test if both nodes acknowledged writes at once, or if the new primary lacks an acknowledged one.
func (w *writers) check(t *testing.T, old, primary *testenv.PatroniNode) {
	t.Helper()
	dsn, err := primary.On(w.dsn)
	if err != nil {
		t.Fatal(err)
	}
	var kept []int
	if err := w.query(t.Context(), dsn, `SELECT id FROM writes`, &kept); err != nil {
		t.Fatal(err)
	}
	has := map[int]bool{}
	for _, id := range kept {
		has[id] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, node := range pair.Nodes {
		for _, written := range w.writes[node] {
			if !has[written.id] {
				t.Errorf("the write %d, which %s acknowledged at %s, is lost", written.id, node.Name, written.end.Format(time.TimeOnly))
			}
		}
	}
	before, after := w.writes[old], w.writes[primary]
	if len(before) == 0 || len(after) == 0 {
		t.Fatalf("%s acknowledged %d writes, %s %d", old.Name, len(before), primary.Name, len(after))
	}
	if last, first := before[len(before)-1], after[0]; last.end.After(first.end) {
		t.Errorf("%s still acknowledged a write %v after %s did", old.Name, last.end.Sub(first.end), primary.Name)
	}
	t.Logf("the nodes acknowledged %d and %d writes, none is lost", len(before), len(after))
}
