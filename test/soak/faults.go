// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// A fault is a failure that lasts for a while. It returns when it is over, or when it cannot be run.
type fault struct {
	play func(ctx context.Context, s *stage, lasts time.Duration, dice *rand.Rand) error

	away  bool // the database may be unavailable
	solid bool // the database is unavailable all the time
	lease bool // a leader may lose its lease and end
}

// The faults of every run.
const (
	databaseStopped = "Postgres stopped"
	managerKilled   = "manager killed"
	apiServerKilled = "API server killed"
)

// Other faults that can cost a leader its lease.
const (
	managerStopped    = "manager stopped (SIGSTOP)"
	managerKilledAway = "manager killed in an outage"
)

var always = []string{databaseStopped, managerKilled, apiServerKilled}

var faults = map[string]fault{
	databaseStopped:      {away: true, solid: true, play: server((*stage).haltPostgres, true)},
	"Postgres crashed":   {away: true, solid: true, play: server((*stage).crashPostgres, true)},
	"Postgres killed":    {away: true, solid: true, play: server((*stage).killPostgres, true)},
	"Postgres restarted": {away: true, play: server((*stage).haltPostgres, false)},
	"Postgres read-only": {away: true, play: readOnly},

	"connections cut":       {away: true, solid: true, play: network(func(l *testenv.Link, _ *rand.Rand) { l.Cut() })},
	"connections stalled":   {away: true, play: network(func(l *testenv.Link, _ *rand.Rand) { l.Stall() })},
	"connections half open": {away: true, play: network(func(l *testenv.Link, _ *rand.Rand) { l.Deafen() })},
	"connections reset": {away: true, play: network(func(l *testenv.Link, dice *rand.Rand) {
		l.Reset(upTo(dice, 300*time.Millisecond))
	})},
	"answers late": {away: true, play: network(func(l *testenv.Link, dice *rand.Rand) {
		l.Delay(100*time.Millisecond + upTo(dice, 1500*time.Millisecond))
	})},

	"listener's sessions ended": {away: true, play: sessions("state = 'idle' AND query ILIKE 'listen%'")},
	"all sessions ended":        {away: true, play: sessions("true")},

	apiServerKilled:              {lease: true, play: plane("kube-apiserver")},
	"etcd killed":                {lease: true, play: plane("etcd")},
	"API server and etcd killed": {lease: true, play: plane("etcd", "kube-apiserver")},

	managerKilled:                  {play: killed},
	"manager told to end":          {play: toldToEnd},
	managerStopped:                 {lease: true, play: stopped},
	managerKilledAway:              {away: true, solid: true, play: killedInOutage},
	"database and API server away": {away: true, solid: true, lease: true, play: bothAway},
}

// lasting waits for the duration of the fault, or until the run ends.
func lasting(ctx context.Context, lasts time.Duration) { _ = pause(ctx, lasts) }

// network disturbs the connections to the database.
func network(begin func(*testenv.Link, *rand.Rand)) func(context.Context, *stage, time.Duration, *rand.Rand) error {
	return func(ctx context.Context, s *stage, lasts time.Duration, dice *rand.Rand) error {
		begin(s.link, dice)
		lasting(ctx, lasts)
		return s.link.Restore() //nolint:contextcheck // it asks nobody
	}
}

// server stops Postgres, and starts it again at once or when the fault is over.
func server(end func(*stage, context.Context) error, stays bool) func(context.Context, *stage, time.Duration, *rand.Rand) error {
	return func(ctx context.Context, s *stage, lasts time.Duration, _ *rand.Rand) error {
		if err := end(s, ctx); err != nil {
			return err
		}
		if stays {
			lasting(ctx, lasts)
		}
		return s.startPostgres(ctx)
	}
}

func readOnly(ctx context.Context, s *stage, lasts time.Duration, _ *rand.Rand) error {
	if err := s.exec(ctx, "ALTER DATABASE "+s.database+" SET default_transaction_read_only = on"); err != nil {
		return err
	}
	if err := s.endSessions(ctx, "true"); err != nil {
		return err
	}
	lasting(ctx, lasts)
	if err := s.exec(ctx, "ALTER DATABASE "+s.database+" RESET default_transaction_read_only"); err != nil {
		return err
	}
	return s.endSessions(ctx, "true")
}

// sessions ends the managers' database sessions for which the condition holds, twice a second.
func sessions(condition string) func(context.Context, *stage, time.Duration, *rand.Rand) error {
	return func(ctx context.Context, s *stage, lasts time.Duration, _ *rand.Rand) error {
		for until := time.Now().Add(lasts); time.Now().Before(until) && ctx.Err() == nil; {
			if err := s.endSessions(ctx, condition); err != nil {
				return err
			}
			lasting(ctx, 500*time.Millisecond)
		}
		return nil
	}
}

// plane kills servers of the control plane, and starts them again.
func plane(programs ...string) func(context.Context, *stage, time.Duration, *rand.Rand) error {
	return func(ctx context.Context, s *stage, lasts time.Duration, _ *rand.Rand) error {
		if err := s.cluster.Kill(ctx, programs...); err != nil {
			return err
		}
		lasting(ctx, lasts)
		return s.cluster.Restart(ctx, programs...)
	}
}

func upTo(dice *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(dice.Int64N(int64(most)))
}

// either returns a random replica: in two of three cases the last known leader.
func (s *stage) either(dice *rand.Rand) *replica {
	leads := func(r *replica) bool { return r.leads.Load() }
	leader := max(0, slices.IndexFunc(s.replicas, leads))
	if dice.IntN(3) == 0 {
		return s.replicas[1-leader]
	}
	return s.replicas[leader]
}

func killed(ctx context.Context, s *stage, lasts time.Duration, dice *rand.Rand) error {
	r := s.either(dice)
	r.kill()
	lasting(ctx, lasts/2) // a kubelet restarts quickly
	return r.start()
}

func toldToEnd(_ context.Context, s *stage, _ time.Duration, dice *rand.Rand) error {
	r := s.either(dice)
	if err := r.stop(); err != nil {
		return err
	}
	return r.start()
}

// stopped: a leader that sleeps for longer than its lease wakes up as a former leader.
func stopped(ctx context.Context, s *stage, lasts time.Duration, dice *rand.Rand) error {
	r := s.either(dice)
	r.signal(syscall.SIGSTOP)
	lasting(ctx, 2*lasts)
	r.signal(syscall.SIGCONT)
	return nil
}

// killedInOutage: the counters of the killed process are lost, and its successor has only the cluster accounts.
func killedInOutage(ctx context.Context, s *stage, lasts time.Duration, dice *rand.Rand) error {
	s.link.Cut()
	lasting(ctx, lasts/2)
	r := s.either(dice)
	r.kill()
	if err := r.start(); err != nil {
		return err
	}
	lasting(ctx, lasts)
	return s.link.Restore() //nolint:contextcheck // it asks nobody
}

func bothAway(ctx context.Context, s *stage, lasts time.Duration, dice *rand.Rand) error {
	var both errgroup.Group
	both.Go(func() error { return plane("kube-apiserver")(ctx, s, lasts, dice) })
	s.link.Cut()
	lasting(ctx, lasts)
	both.Go(s.link.Restore)
	return both.Wait()
}

// takes returns the duration of a fault with its end. Another leader has to wait until the lease expires.
func (st step) takes() time.Duration {
	if st.kind == managerStopped || st.kind == managerKilled || st.kind == managerKilledAway {
		return 2*st.lasts + 18*time.Second
	}
	return st.lasts + 6*time.Second
}

// disturb runs the plan until the time is over.
func (s *stage) disturb(ctx context.Context, steps func(yield func(step) bool), until time.Time) error {
	left := len(always) // the faults that always run
	for st := range steps {
		left--
		if left < 0 && time.Now().Add(st.takes()).After(until) {
			return ctx.Err()
		}
		if err := s.playFault(ctx, st); err != nil {
			return err
		}
		if s.quietDue() && time.Until(until) > quietTakes {
			if err := s.quietPoint(ctx, true); err != nil {
				return err
			}
		}
		if err := pause(ctx, min(st.gap, time.Until(until))); err != nil {
			return err
		}
	}
	return nil
}

// playFault runs a fault, and waits until everything has recovered.
func (s *stage) playFault(ctx context.Context, st step) error {
	f := faults[st.kind]
	begun := time.Now()
	s.leaseAtRisk.Store(false)
	s.say("%s for %.1f s", st.kind, st.lasts.Seconds())
	s.ledger.unmark(&s.ledger.calm, begun)
	if f.away {
		s.ledger.mark(&s.ledger.away, begun)
	}
	if f.solid {
		s.ledger.mark(&s.ledger.solid, begun)
	}
	if f.lease {
		s.leaseAtRisk.Store(true)
	}
	err := f.play(ctx, s, st.lasts, rand.New(rand.NewPCG(st.dice, 1)))
	over := time.Now()
	s.ledger.unmark(&s.ledger.solid, over)
	if err != nil {
		return fmt.Errorf("play the fault %q: %w", st.kind, err)
	}
	recovered, err := s.recovery(ctx)
	if err != nil {
		err = fmt.Errorf("after %q: %w", st.kind, err)
		if ctx.Err() == nil {
			s.story.violation(violation{what: err.Error(), at: time.Now()})
		}
		return err
	}
	s.ledger.unmark(&s.ledger.away, recovered)
	s.ledger.mark(&s.ledger.calm, recovered)
	s.story.fault(band{Kind: st.kind, Begin: s.since(begun), End: s.since(over), Recovered: s.since(recovered)})
	s.say("%s: recovered in %.1f s", st.kind, recovered.Sub(over).Seconds())
	return nil
}
