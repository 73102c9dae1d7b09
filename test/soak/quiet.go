// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// steps returns the plan of the run's seed.
func (s *stage) steps() iter.Seq[step] {
	var others []string
	for kind := range faults {
		if !slices.Contains(always, kind) {
			others = append(others, kind)
		}
	}
	slices.Sort(others)
	return plan(s.set.seed, always, others)
}

// recovery waits until all is as before a fault: both replicas use the database and accept logins, one of them leads,
// and an edit is reconciled. It returns the time of that.
func (s *stage) recovery(ctx context.Context) (time.Time, error) {
	s.probe.mu.Lock()
	defer s.probe.mu.Unlock()
	if err := s.reassign(ctx, s.probe); err != nil {
		return time.Time{}, err
	}
	begun, last := time.Now(), ""
	err := within(ctx, "it does not recover", patience+watchBackoff, 200*time.Millisecond, func(ctx context.Context) error {
		err := errors.Join(s.serving(ctx), s.converged(ctx, []*person{s.probe}))
		if err != nil && time.Since(begun) > slowRecovery && err.Error() != last {
			last = err.Error()
			s.say("not yet: %s", strings.ReplaceAll(last, "\n", "; "))
		}
		return err
	})
	if err != nil {
		return time.Time{}, err
	}
	for _, r := range s.replicas {
		err := within(ctx, "replica "+r.name+" lets nobody in", patience, 200*time.Millisecond, func(ctx context.Context) error {
			if status := r.logIn(ctx, s.probe.name, s.probe.password, false); status != http.StatusOK {
				return fmt.Errorf("it answers %d", status)
			}
			return nil
		})
		if err != nil {
			return time.Time{}, err
		}
	}
	return time.Now(), nil
}

// watchBackoff is the longest time until client-go watches again. An API server that has just started refuses watches,
// because it does not know the rights yet, and each refusal doubles the delay, up to half a minute plus jitter. The
// delay is reset after two minutes without a refusal. In production, API servers do not restart that often.
const watchBackoff = time.Minute

// slowRecovery is the time after which a recovery is explained.
const slowRecovery = 10 * time.Second

// serving returns why the replicas do not both use the database with one leader; nil if they do.
func (s *stage) serving(ctx context.Context) error {
	leaders := 0.0
	for _, r := range s.replicas {
		figures, err := s.scrape(ctx, r)
		switch {
		case err != nil:
			return fmt.Errorf("replica %s: %w", r.name, err)
		case figures[fallbackActive] != 0:
			return fmt.Errorf("replica %s decides from memory", r.name)
		case figures[databaseUp] != 1:
			return fmt.Errorf("replica %s has no database", r.name)
		}
		leaders += figures[isLeader]
	}
	if leaders != 1 {
		return fmt.Errorf("there are %v leaders", leaders)
	}
	return nil
}

// quietEvery is the interval of complete comparisons. A shorter run compares at its end.
const (
	quietEvery = 30 * time.Second
	quietTakes = 10 * time.Second
)

func (s *stage) quietDue() bool { return time.Since(s.lastQuiet) > quietEvery }

// quietPoint pauses all actors, waits until every request is done, and compares everything. If actors continue, it
// waits until every replica knows the state.
func (s *stage) quietPoint(ctx context.Context, goesOn bool) error {
	s.calm.Lock()
	defer s.calm.Unlock()
	for _, p := range s.people {
		p.mu.Lock()
		defer p.mu.Unlock()
	}
	begun := time.Now()
	err := within(ctx, "resources and rows do not come to agree", patience, 200*time.Millisecond, func(ctx context.Context) error {
		return s.converged(ctx, s.people)
	})
	if err != nil {
		s.story.violation(violation{what: err.Error(), at: time.Now()})
		return err
	}
	if goesOn {
		if err := s.settleAll(ctx); err != nil {
			return err
		}
	}
	if err := s.complete(ctx, begun); err != nil {
		return err
	}
	if err := s.bounded(ctx); err != nil {
		s.story.violation(violation{what: err.Error(), at: time.Now()})
		return err
	}
	s.lastQuiet = time.Now()
	s.story.quiet(span{begun, s.lastQuiet})
	s.say("a quiet point: %d users agree with their rows, and all attempts are recorded (%.1f s)", len(s.people), s.lastQuiet.Sub(begun).Seconds())
	return nil
}

// settleAll waits until every replica knows what was observed.
func (s *stage) settleAll(ctx context.Context) error {
	if err := pause(ctx, s.ledger.rules.known); err != nil {
		return err
	}
	for _, p := range s.people {
		s.ledger.settle(p.name, time.Now())
	}
	return nil
}

// complete waits until all former decisions are recorded, and judges.
func (s *stage) complete(ctx context.Context, before time.Time) error {
	deadline := time.Now().Add(patience)
	for {
		if err := s.readRecord(ctx, time.Time{}); err != nil {
			return err
		}
		missing := func(v violation) bool { return strings.HasSuffix(v.what, notRecorded) }
		broken := s.ledger.judge(before)
		if !slices.ContainsFunc(broken, missing) || time.Now().After(deadline) || slices.ContainsFunc(broken, func(v violation) bool { return !missing(v) }) {
			break
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	return s.judge(before)
}

// converged returns why rows and statuses of these people are not as intended; nil if they are. With all people, no
// other row may exist.
func (s *stage) converged(ctx context.Context, people []*person) error {
	var list v1alpha1.ShardingUserList
	if err := s.api.List(ctx, &list, client.InNamespace(s.namespace)); err != nil {
		return fmt.Errorf("list the users: %w", err)
	}
	resources := map[string]*v1alpha1.ShardingUser{}
	for i := range list.Items {
		resources[list.Items[i].Name] = &list.Items[i]
	}
	rows, err := s.readRows(ctx)
	if err != nil {
		return err
	}
	expected := 0
	for _, p := range people {
		if err := agrees(p, resources[p.name], rows[p.name]); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if p.row {
			expected++
		}
	}
	if len(people) == len(s.people) && len(rows) != expected {
		return fmt.Errorf("there are %d rows for %d users", len(rows), expected)
	}
	return nil
}

// agrees returns why a person's resource and row are not as intended; nil if they are. It is called with the person
// locked.
func agrees(p *person, u *v1alpha1.ShardingUser, r *row) error {
	if differs := p.differs(r); differs != "" {
		return errors.New(differs)
	}
	switch {
	case !p.exists && u != nil:
		return errors.New("its resource is not gone")
	case !p.exists:
		return nil
	case u == nil:
		return errors.New("its resource is gone")
	case r.noted != r.enabledHash():
		return errors.New("the row's hash is not the one that was noted")
	}
	if err := ready(u); err != nil {
		return err
	}
	locked := r.lock != nil
	switch {
	case locked != u.Status.Locked:
		return fmt.Errorf("the row is locked: %t, and the status says %t", locked, u.Status.Locked)
	case locked && (u.Status.LockedUntil == nil || !u.Status.LockedUntil.Time.Equal(r.lock.Truncate(time.Second))):
		return fmt.Errorf("the row is locked until %s, and the status says %v", clock(*r.lock), u.Status.LockedUntil)
	}
	return nil
}
