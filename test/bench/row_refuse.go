// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/bcrypt"
)

const (
	right = "the right password"
	wrong = "a wrong password"
)

// A refused is a kind of attempt that clients must not be able to distinguish from the others.
type refused struct {
	name    string
	values  string // of its rows, $1 their username and $2 the hash of the right password; empty for no rows
	shown   string // the password
	outcome string // recorded
}

var refusals = []refused{
	{"unknown", ``, right, "unknown"},
	{"wrong", `($1, $2, true, NULL)`, wrong, "failed"},
	{"locked", `($1, $2, true, now() AT TIME ZONE 'UTC' + interval '1 day')`, right, "locked"},
	{"inactive", `($1, $2, false, NULL)`, right, "inactive"},
	{"no hash", `($1, NULLIF($2, $2), true, NULL)`, right, "failed"},
}

// refuse measures every kind of refusal, one attempt at a time and in random order: the difference of the medians of
// their times. The responses must be equal, and each costs one bcrypt.
func refuse(ctx context.Context, s *stage) ([]Result, error) {
	if err := s.ensureManager(ctx); err != nil {
		return nil, err
	}
	attempts, err := s.prepareRefusals(ctx)
	if err != nil {
		return nil, err
	}
	phase, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	times := make([][]float64, len(refusals))
	answers := map[string]bool{}
	rand.Shuffle(len(attempts), func(i, j int) { attempts[i], attempts[j] = attempts[j], attempts[i] })
	for _, n := range attempts {
		kind := n % len(refusals)
		begun := time.Now()
		answer, err := s.manager.LogIn(ctx, refusedName(n), refusals[kind].shown)
		if err != nil {
			return nil, err
		}
		times[kind] = append(times[kind], milliseconds(time.Since(begun)))
		answer.Header.Del("Date")
		answers[fmt.Sprint(answer)] = true
	}
	counters, err := phase.end(ctx, nil)
	if err != nil {
		return nil, err
	}
	result := Result{Row: "refuse", What: "refusals: slowest median beside the quickest", Users: s.users, Unit: "ms", Counters: counters}
	medians := make([]float64, len(refusals))
	for i, kind := range refusals {
		medians[i] = median(times[i])
		result.beside(kind.name+", ms", medians[i])
	}
	result.Value = slices.Max(medians)
	result.against(slices.Min(medians), "the quickest")
	result.exactly(comparisons, float64(len(attempts)))
	if len(answers) != 1 {
		result.broken("one can tell the refusals apart: %v", slices.Sorted(maps.Keys(answers)))
	}
	return []Result{result}, s.recorded(ctx, len(attempts)/len(refusals))
}

// refusedName returns the name of the n-th account, which no resource owns.
func refusedName(n int) string { return "refused-" + name(n) }

// prepareRefusals creates the accounts, and returns the numbers of those that try, each as often as does not lock it.
// The kind of an account is the remainder of its number.
func (s *stage) prepareRefusals(ctx context.Context) (attempts []int, err error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(right), bcrypt.DefaultCost)
	if err != nil {
		return nil, fmt.Errorf("hash: %w", err)
	}
	if err := s.exec(ctx, `ALTER TABLE users ALTER password_hash DROP NOT NULL`); err != nil { // as the sharding system may
		return nil, fmt.Errorf("let hashes be missing: %w", err)
	}
	for n := range max(1, s.size.repeat/4) * len(refusals) {
		if values := refusals[n%len(refusals)].values; values != "" {
			err := s.exec(ctx, `INSERT INTO users (username, password_hash, active, locked_until) VALUES `+values, refusedName(n), string(hash))
			if err != nil {
				return nil, fmt.Errorf("make an account: %w", err)
			}
		}
		attempts = append(attempts, slices.Repeat([]int{n}, failuresBeforeLast)...)
	}
	return attempts, nil
}

// recorded waits until the given number of attempts of each kind is recorded with the expected outcome.
func (s *stage) recorded(ctx context.Context, each int) error {
	want := map[string]int{}
	for _, kind := range refusals {
		want[kind.outcome] += each
	}
	return s.within(ctx, fmt.Sprintf("the outcomes %v to be recorded", want), poll, func(ctx context.Context) (bool, error) {
		// Attempts with unknown usernames are recorded under a digest.
		rows, err := s.db.Query(ctx, `
SELECT outcome, sum(attempts)::integer FROM login_attempts
WHERE username LIKE 'refused-%' OR username = '' OR outcome = 'unknown' GROUP BY outcome`)
		if err != nil {
			return false, err
		}
		got := map[string]int{}
		var outcome string
		var n int
		_, err = pgx.ForEachRow(rows, []any{&outcome, &n}, func() error {
			got[outcome] = n
			return nil
		})
		return maps.Equal(got, want), err
	})
}
