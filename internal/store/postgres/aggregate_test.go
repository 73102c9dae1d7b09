// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"fmt"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

func TestAFloodOfRefusedAttemptsIsAggregated(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, insertActive, "alice")
	run(t, pool, insertActive, "bob")
	run(t, pool, "UPDATE users SET locked_until = now() AT TIME ZONE 'UTC' + INTERVAL '1 hour' WHERE username = 'alice'")
	run(t, pool, "UPDATE users SET active = false WHERE username = 'bob'")
	const each = 2 * ownRowsOfSource
	for i := range each {
		charge(t, s, "alice")
		charge(t, s, "bob")
		charge(t, s, fmt.Sprintf("nobody-%d", i))
	}
	for _, outcome := range []store.Outcome{store.RefusedLocked, store.RefusedInactive, store.RefusedUnknown} {
		sum := value[int](t, pool, "SELECT sum(attempts) FROM login_attempts WHERE outcome = $1", string(outcome))
		if sum != each {
			t.Errorf("%d attempts are recorded as %s, want %d", sum, outcome, each)
		}
	}
	// A minute may end meanwhile, and another begin.
	minutes := value[int](t, pool, "SELECT count(DISTINCT date_trunc('minute', attempted_at)) FROM login_attempts")
	rows := value[int](t, pool, "SELECT count(*) FROM login_attempts")
	if most := minutes * (ownRowsOfSource + 3); rows > most {
		t.Errorf("%d attempts have %d rows, want %d at most", 3*each, rows, most)
	}
	told := value[int](t, pool, `SELECT count(*) FROM login_attempts
		WHERE username = '' AND (user_agent <> '' OR source <> '192.0.2.7')`)
	if told != 0 {
		t.Errorf("%d rows that stand for several attempts show the user agent of one, or another source", told)
	}
}

func TestAFloodHidesNoCheckedAttempt(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, insertActive, "alice")
	for i := range ownRowsOfSource + 10 {
		charge(t, s, fmt.Sprintf("nobody-%d", i))
	}
	for range 3 {
		charge(t, s, "alice")
	}
	if rows := value[int](t, pool, "SELECT count(*) FROM login_attempts WHERE username = 'alice' AND user_agent = 'a browser'"); rows != 3 {
		t.Errorf("alice has %d recorded attempts, want 3", rows)
	}
}

func TestConcurrentRefusalsLoseNoAttempt(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	const callers, each = 8, ownRowsOfSource
	done := make(chan error, callers)
	for c := range callers {
		go func() {
			for i := range each {
				if _, err := s.Charge(t.Context(), attempt(fmt.Sprintf("nobody-%d-%d", c, i)), usual); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range callers {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if sum := value[int](t, pool, "SELECT sum(attempts) FROM login_attempts"); sum != callers*each {
		t.Errorf("%d attempts are recorded, want %d", sum, callers*each)
	}
}

func TestAPurgedAggregateBeginsAgain(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	for i := range ownRowsOfSource + 5 {
		charge(t, s, fmt.Sprintf("nobody-%d", i))
	}
	run(t, pool, "DELETE FROM login_attempts")
	charge(t, s, "nobody")
	if sum := value[int](t, pool, "SELECT sum(attempts) FROM login_attempts"); sum != 1 {
		t.Errorf("%d attempts are recorded, want 1", sum)
	}
}

// The counting alone, with a clock of its own.
func TestRefusedAttemptsAreSharedOutBySource(t *testing.T) {
	var (
		a   aggregates
		now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		id  int64
	)
	refuse := func(address string) placement {
		p := a.next(address, now)
		id++
		a.done(p, store.Unknown, id)
		return p
	}
	for i := range ownRowsOfSource {
		if refuse(fmt.Sprintf("2001:db8::%x", i)).aggregated {
			t.Fatalf("attempt %d has no row of its own", i)
		}
	}
	if p := refuse("2001:db8::ffff"); !p.aggregated || p.source != "2001:db8::/64" {
		t.Errorf("another address of the network: %+v", p)
	}
	if p := refuse("2001:db8::1"); p.ids[store.Unknown] == 0 {
		t.Error("a second attempt is not added to the row of the first one")
	}
	if p := refuse("2001:db8:0:1::1"); p.aggregated {
		t.Error("another network has no row of its own")
	}
	for i := range ownRows {
		refuse(fmt.Sprintf("10.1.%d.%d", i/256, i%256))
	}
	if p := refuse("10.2.0.1"); !p.aggregated || p.source != "10.2.0.1" {
		t.Errorf("an attempt beyond those of all sources: %+v", p)
	}
	for i := range 2 * aggregatedSources {
		refuse(fmt.Sprintf("10.3.%d.%d", i/256, i%256))
	}
	if p := refuse("10.4.0.1"); p.source != otherSources {
		t.Errorf("an attempt beyond the sources that have rows: %+v", p)
	}
	if most := aggregatedSources + 1; len(a.known) > most || len(a.rows) > 3*most {
		t.Errorf("%d sources and %d rows are remembered", len(a.known), len(a.rows))
	}
	now = now.Add(time.Minute)
	if refuse("10.4.0.1").aggregated {
		t.Error("in a new minute the first attempt has no row of its own")
	}
}
