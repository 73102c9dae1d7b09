// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// live is the run itself, on a started stage.
func (s *stage) live(ctx context.Context) error {
	begun := time.Now()
	s.story.Begun = begun
	if err := s.createPeople(ctx); err != nil {
		return err
	}
	s.ledger.mark(&s.ledger.calm, time.Now())
	if err := s.quietPoint(ctx, false); err != nil { // before the first login
		return err
	}
	s.say("all %d users are in place; the load begins", len(s.people))
	s.story.Load = s.since(time.Now())

	until := time.Now().Add(s.set.duration)
	acting, stop := context.WithCancel(ctx)
	group, acting := errgroup.WithContext(acting)
	s.act(acting, group)
	group.Go(func() error {
		select {
		case err := <-s.broken:
			return err
		case <-acting.Done():
			return nil
		}
	})
	group.Go(func() error {
		defer stop()
		if err := s.disturb(acting, s.steps(), until); err != nil {
			return err
		}
		return s.quietPoint(acting, false)
	})
	err := group.Wait()
	stop()
	s.story.Seconds, s.story.Record = s.since(time.Now()), s.ledger.outcomes()
	switch {
	case ctx.Err() != nil: // the run was canceled
		return ctx.Err()
	case err != nil:
		return err
	}
	return s.readForSecrets(ctx)
}

// act runs all actors until ctx ends.
func (s *stage) act(ctx context.Context, group *errgroup.Group) {
	const editors = 4
	for i := range editors {
		var some []*person
		for j, p := range s.others() {
			if j%editors == i {
				some = append(some, p)
			}
		}
		group.Go(func() error { return s.editing(ctx, some) })
	}
	for _, r := range s.replicas {
		group.Go(func() error { return s.logging(ctx, r) })
		for _, p := range s.victims {
			group.Go(func() error { return s.guessing(ctx, r, p.name) })
		}
		group.Go(func() error { return s.measure(ctx, r) })
	}
	group.Go(func() error { return s.tryingLocks(ctx) })
	group.Go(func() error { return s.relieving(ctx) })
	group.Go(func() error { return s.drifting(ctx) })
	group.Go(func() error { return s.watch(ctx) })
	group.Go(func() error { return s.feelThePulse(ctx) })
}

// watch reads rows and records all the time, and judges.
func (s *stage) watch(ctx context.Context) error {
	for pause(ctx, time.Second) == nil {
		now := time.Now()
		rows, err := s.readRows(ctx)
		if err != nil {
			continue // the database may be unavailable for the soak, too
		}
		s.settleSeen(rows, now)
		if err := s.readRecord(ctx, now.Add(-overlap)); err != nil {
			continue
		}
		if err := s.judge(time.Time{}); err != nil {
			return err
		}
	}
	return nil
}

// judge fails on the first broken promise.
func (s *stage) judge(complete time.Time) error {
	broken := s.ledger.judge(complete)
	if len(broken) == 0 {
		return nil
	}
	for _, v := range broken {
		s.story.violation(v)
	}
	return s.fatal(broken[0])
}

// fatal returns the error of a broken promise, with what is known around it.
func (s *stage) fatal(v violation) error {
	if v.user != "" {
		s.story.History = s.ledger.history(v.user, v.at)
	}
	return fmt.Errorf("a promise is broken: %s (%s)", v.what, v.user)
}

// fail ends the run for a goroutine that has no error to return.
func (s *stage) fail(v violation) {
	s.story.violation(v)
	select {
	case s.broken <- s.fatal(v):
	default: // it already ends
	}
}

// settleSeen tells the ledger the users whose rows were as intended for so long, without a fault, that every replica
// knows.
func (s *stage) settleSeen(rows map[string]*row, now time.Time) {
	for _, p := range s.people {
		if !p.mu.TryLock() {
			continue // it is being edited
		}
		r := rows[p.name]
		switch {
		case p.differs(r) != "" || (p.exists && r.unlock != p.unlock):
			p.seen = time.Time{}
		case p.seen.IsZero():
			p.seen = now
		case now.Sub(p.seen) > s.ledger.rules.known && s.ledger.isCalm(now.Add(-s.ledger.rules.known)):
			s.ledger.settle(p.name, now)
		}
		p.mu.Unlock()
	}
}

// readRows reads the table and the ownership records.
func (s *stage) readRows(ctx context.Context) (map[string]*row, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	found, err := s.db.Query(ctx, `
SELECT u.username, u.password_hash, ARRAY(SELECT jsonb_array_elements_text(u.roles)), u.active,
       CASE WHEN u.locked_until > now() THEN u.locked_until END, COALESCE(o.unlock_handled, ''), COALESCE(o.password_hash, '')
FROM users u LEFT JOIN shardinguser_ownership o ON o.username = u.username`)
	if err != nil {
		return nil, fmt.Errorf("read the rows: %w", err)
	}
	defer found.Close()
	rows := map[string]*row{}
	for found.Next() {
		var name string
		r := &row{}
		if err := found.Scan(&name, &r.hash, &r.roles, &r.active, &r.lock, &r.unlock, &r.noted); err != nil {
			return nil, fmt.Errorf("read the rows: %w", err)
		}
		rows[name] = r
	}
	if err := found.Err(); err != nil {
		return nil, fmt.Errorf("read the rows: %w", err)
	}
	return rows, nil
}
