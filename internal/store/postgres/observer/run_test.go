// SPDX-License-Identifier: Apache-2.0

package observer

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// table is a database with digests, by username.
type table struct {
	digests    map[string]int64
	isNotified bool
	alive      int // how often it was marked alive
}

func (d *table) Listen(context.Context, func(channel, payload string)) (Connection, error) {
	return nil, errTurnedOff
}
func (d *table) Notify(context.Context, string, string) error { return nil }
func (d *table) ArrangeTrigger(context.Context) (bool, error) { return true, nil }
func (d *table) SetNotified(isNotified bool)                  { d.isNotified = isNotified }
func (d *table) MarkAlive()                                   { d.alive++ }
func (d *table) Reason(err error) string                      { return err.Error() }

func (d *table) ReadDigests(_ context.Context, begin func(isOther bool), add func(username []byte, digest int64)) error {
	begin(false)
	for username, digest := range d.digests {
		add([]byte(username), digest)
	}
	return nil
}

// sweeper is a run whose sweeps a test calls, with one subscriber.
type sweeper struct {
	*run
	t  *testing.T
	db *table
	m  *subscriber
}

func newSweeper(t *testing.T) *sweeper {
	t.Helper()
	db := &table{digests: map[string]int64{}}
	settings := Settings{PollInterval: time.Second, ResyncInterval: time.Minute, Log: slog.New(slog.DiscardHandler)}
	w := &sweeper{run: newRun(db, settings, UsualTiming()), t: t, db: db, m: newSubscriber()}
	w.join(w.m)
	return w
}

// expect fails unless exactly these usernames are pending.
func (w *sweeper) expect(want ...string) {
	w.t.Helper()
	if got := slices.Sorted(slices.Values(takeAll(w.m))); !slices.Equal(got, want) {
		w.t.Errorf("%q are reported, want %q", got, want)
	}
}

// sweepAround sweeps, and calls do when the sweep has read the table.
func (w *sweeper) sweepAround(do func()) {
	w.t.Helper()
	w.begin()
	found, err := w.read(w.t.Context())
	do()
	if err == nil {
		w.report(w.t.Context(), found)
	}
	w.end(nil, err)
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *sweeper) sweepNow() { w.sweepAround(func() {}) }

// takeAll takes all that is pending.
func takeAll(m *subscriber) (all []string) {
	for {
		usernames, ok := m.take()
		if !ok {
			return all
		}
		all = append(all, usernames...)
	}
}

func TestUsernamesNotifiedAroundASweepAreReportedByTheNextOne(t *testing.T) {
	for name, story := range map[string]func(w *sweeper){
		"a row that comes and goes while a sweep runs": func(w *sweeper) {
			w.sweepAround(func() { w.handle("bob") })
			w.expect("bob")
		},
		"a row that comes and goes between two sweeps": func(w *sweeper) {
			w.handle("bob")
			w.expect("bob")
		},
		"a row that is as before when the next sweep comes": func(w *sweeper) {
			w.db.digests["bob"] = 1
			w.sweepNow()
			w.expect("bob")
			w.handle("bob")
			w.expect("bob")
		},
		"a username that a failed sweep did not report": func(w *sweeper) {
			w.handle("bob")
			w.expect("bob")
			w.begin()
			w.end(nil, errNotNotified)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newSweeper(t)
			w.db.digests["alice"] = 1
			w.sweepNow()
			w.expect("alice")
			story(w)
			w.sweepNow()
			w.expect("bob")
			w.sweepNow()
			w.expect()
		})
	}
}

func TestAnotherTableIsReportedWhole(t *testing.T) {
	w := newSweeper(t)
	w.db.digests["alice"], w.db.digests["bob"] = 1, 2
	w.sweepNow()
	w.expect("alice", "bob")
	w.knownOf(true)
	delete(w.db.digests, "bob")
	w.sweepNow()
	w.expect("alice", "bob")
	w.sweepNow()
	w.expect()
}

func TestMoreNotificationsThanAreKeptCauseASweep(t *testing.T) {
	w := newSweeper(t)
	w.sweepNow()
	takeAll(w.m)
	for n := range 3 * mostPending {
		w.handle(fmt.Sprint("nobody-", n))
	}
	if got := takeAll(w.m); len(got) != mostPending || len(w.notified.names) != mostPending {
		t.Errorf("%d usernames are reported and %d kept, want %d", len(got), len(w.notified.names), mostPending)
	}
	if !w.droppedSinceSweep || !w.requested {
		t.Errorf("a notification was dropped: %t; a sweep is requested: %t", w.droppedSinceSweep, w.requested)
	}
	if w.markAlive(); w.db.alive != 0 {
		t.Error("it is marked alive, and a notification was dropped")
	}
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		w.sweepNow()
	}()
	var reported []string
	for done := false; !done; {
		select {
		case <-swept:
			done = true
		case <-w.m.some:
		}
		reported = append(reported, takeAll(w.m)...)
	}
	if len(reported) != mostPending {
		t.Errorf("the sweep reports %d usernames, want %d", len(reported), mostPending)
	}
	if w.markAlive(); w.db.alive != 1 {
		t.Error("it is not marked alive after the sweep")
	}
}
