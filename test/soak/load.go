// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// The load: logins, guesses, and a program that writes into the table.

// logging logs users in on a replica, mostly with the right password, both as clients and as gateways do.
func (s *stage) logging(ctx context.Context, r *replica) error {
	for pause(ctx, s.pace/2+rand.N(s.pace)) == nil {
		p := s.others()[rand.IntN(len(s.others()))]
		current, former := s.ledger.current(p.name)
		shown, username := current, p.name
		switch dice := rand.IntN(10); {
		case dice == 0, shown == "":
			shown = newPassword()
		case dice <= 2 && former != "":
			shown = former
		case dice == 3:
			username = "nobody-" + p.name
		}
		s.calm.RLock()
		r.logIn(ctx, username, shown, rand.IntN(4) == 0)
		s.calm.RUnlock()
	}
	return nil
}

// guessing tries wrong passwords of a victim on a replica all the time, two at once.
func (s *stage) guessing(ctx context.Context, r *replica, victim string) error {
	for pause(ctx, s.pace+rand.N(2*s.pace)) == nil {
		s.calm.RLock()
		var pair sync.WaitGroup
		for range 2 {
			pair.Go(func() { r.logIn(ctx, victim, newPassword(), false) })
		}
		pair.Wait()
		s.calm.RUnlock()
	}
	return nil
}

// tryingLocks uses the right password of locked victims.
func (s *stage) tryingLocks(ctx context.Context) error {
	var names []string
	for _, p := range s.victims {
		names = append(names, p.name)
	}
	for pause(ctx, s.pace) == nil {
		locked := s.ledger.lockedFor(names, 3*time.Second, time.Now())
		if len(locked) == 0 {
			continue
		}
		name := locked[rand.IntN(len(locked))]
		current, _ := s.ledger.current(name)
		s.calm.RLock()
		if s.replicas[rand.IntN(len(s.replicas))].logIn(ctx, name, current, false) == http.StatusOK {
			s.story.count("login of a victim that was unlocked meanwhile, or that a replica's memory did not know to be locked")
		} else {
			s.story.count("right password of a locked victim refused")
		}
		s.calm.RUnlock()
	}
	return nil
}

// relieving sometimes unlocks a victim, and sometimes gives another one another password. The first victim is left
// alone.
func (s *stage) relieving(ctx context.Context) error {
	for turn := 0; pause(ctx, 8*time.Second+rand.N(8*time.Second)) == nil; turn++ {
		s.calm.RLock()
		p := s.victims[1+turn%2]
		p.mu.Lock()
		var err error
		if turn%2 == 0 {
			s.story.count("edit: victim unlocked")
			err = s.requestUnlock(ctx, p)
		} else {
			s.story.count("edit: victim's password rotated")
			err = s.rotate(ctx, p)
		}
		p.mu.Unlock()
		s.calm.RUnlock()
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("relieve a victim: %w", err)
		}
	}
	return nil
}

// drifts reports whether the other program changes a person's row.
func drifts(p *person) bool { return strings.HasSuffix(p.name, "0") || strings.HasSuffix(p.name, "5") }

// drifting is the other program: it changes columns of the operator, deletes rows, and writes the login columns.
func (s *stage) drifting(ctx context.Context) error {
	foreign := newPassword()
	hash, err := bcrypt.GenerateFromPassword([]byte(foreign), bcryptCost)
	if err != nil {
		return fmt.Errorf("hash: %w", err)
	}
	people := slices.DeleteFunc(slices.Clone(s.others()), func(p *person) bool { return !drifts(p) })
	for pause(ctx, s.pace+rand.N(2*s.pace)) == nil {
		p := people[rand.IntN(len(people))]
		s.calm.RLock()
		if p.mu.TryLock() {
			if p.exists {
				s.driftOne(ctx, p, foreign, string(hash))
			}
			p.mu.Unlock()
		}
		s.calm.RUnlock()
	}
	return nil
}

// driftOne is called with the person locked. The database may be unavailable.
func (s *stage) driftOne(ctx context.Context, p *person, foreign, hash string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	p.seen = time.Time{}
	ways := []struct {
		what, statement string
		arguments       []any
	}{
		{"roles", `UPDATE users SET roles = '["forged"]' WHERE username = $1`, nil},
		{"active", `UPDATE users SET active = NOT active WHERE username = $1`, nil},
		{"hash", `UPDATE users SET password_hash = $2 WHERE username = $1`, []any{hash}},
		{"row deleted", `DELETE FROM users WHERE username = $1`, nil},
		{"counter", `UPDATE users SET failed_login_attempts = 3 WHERE username = $1`, nil},
		{"lock", `UPDATE users SET failed_login_attempts = 5, locked_until = now() + interval '4 seconds' WHERE username = $1`, nil},
		{"cleared", `UPDATE users SET failed_login_attempts = 0, locked_until = NULL, last_login_at = now() WHERE username = $1`, nil},
	}
	way := ways[rand.IntN(len(ways))]
	switch way.what {
	case "active", "row deleted":
		s.ledger.admit(p.name, p.password, time.Now())
	case "hash":
		s.ledger.admit(p.name, foreign, time.Now())
	}
	if _, err := s.db.Exec(ctx, way.statement, append([]any{p.name}, way.arguments...)...); err == nil {
		s.story.count("drift: " + way.what)
	}
}
