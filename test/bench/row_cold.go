// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// cold measures a manager that reconciles users with plain passwords for the first time: resources and Secrets exist,
// the database is empty.
func cold(ctx context.Context, s *stage) ([]Result, error) {
	begun := time.Now()
	var err error
	if s.passwords, err = s.createPlain(ctx, 0, s.users); err != nil {
		return nil, fmt.Errorf("create the users: %w", err)
	}
	s.say("%d users with plain passwords are created (%.1f s)", s.users, time.Since(begun).Seconds())

	// Half before and half after, because the machine can be busier at one time than at another.
	sample := min(s.users, 200) / 2
	pure, err := hashing(ctx, sample)
	if err != nil {
		return nil, err
	}
	result, err := s.meet(ctx, nothing)
	if err != nil {
		return nil, err
	}
	after, err := hashing(ctx, sample)
	if err != nil {
		return nil, err
	}
	result.Row, result.What = "cold", fmt.Sprintf("cold, %d users with plain passwords", s.users)
	result.against((pure+after).Seconds()*float64(s.users)/float64(2*sample), "N × bcrypt ÷ cores")
	result.Aim = ratioAtMost(0.6)
	result.exactly(hashes, float64(s.users))
	for _, n := range []int{0, s.users / 2, s.users - 1} {
		hash, err := s.hashOf(ctx, name(n))
		if err != nil {
			return nil, fmt.Errorf("read a hash: %w", err)
		}
		if bcrypt.CompareHashAndPassword([]byte(hash), []byte(s.passwords[n])) != nil {
			result.broken("the row of %s has another password than its Secret", name(n))
		}
	}
	return []Result{*result}, nil
}

// coldHashed is cold with bcrypt hashes in the Secrets, so only reads and writes are left.
func coldHashed(ctx context.Context, s *stage) ([]Result, error) { return s.coldHashed(ctx, false) }

// coldShared is coldHashed with one Secret for all users.
func coldShared(ctx context.Context, s *stage) ([]Result, error) { return s.coldHashed(ctx, true) }

func (s *stage) coldHashed(ctx context.Context, shared bool) ([]Result, error) {
	var err error
	if s.emptyTook, err = s.emptyStart(ctx); err != nil {
		return nil, err
	}
	begun := time.Now()
	if err := s.createHashed(ctx, s.users, shared); err != nil {
		return nil, fmt.Errorf("create the users: %w", err)
	}
	s.say("%d users with hashed passwords are created (%.1f s)", s.users, time.Since(begun).Seconds())

	sample := min(s.users, 2000) / 2
	idle, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := s.raw.statuses(ctx, sample)
	if err != nil {
		return nil, err
	}
	cost, err := idle.end(ctx, nil)
	if err != nil {
		return nil, err
	}
	var delays []float64
	result, err := s.meet(ctx, func(ctx context.Context) (err error) {
		if shared {
			delays, err = s.locksMeanwhile(ctx)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if s.formerRSS, _, err = residentOf(s.manager.PID()); err != nil {
		return nil, err
	}
	after, err := s.raw.statuses(ctx, sample)
	if err != nil {
		return nil, err
	}
	result.Row, result.What = "hash", fmt.Sprintf("cold, %d users with format: Bcrypt", s.users)
	if shared {
		result.What += ", one Secret for all"
	}
	result.against((raw+after).Seconds()*float64(s.users)/float64(2*sample), "N raw status writes")
	result.Aim = ratioAtMost(1.3)
	serving := func(c Counters, n int) float64 { return 1000 * (c[cpuAPIServer] + c[cpuEtcd]) / float64(n) }
	result.beside("CPU ms of API server and etcd for each user", serving(result.Counters, s.users))
	result.beside("and for each raw write", serving(cost, sample))
	result.exactly(hashes, 0)
	results := []Result{*result}
	if len(delays) > 0 {
		among := Result{
			Row: "hash", What: "locked by SQL meanwhile → a watch sees it, p50", Users: s.users, Value: median(delays), Unit: "ms",
		}
		among.beside("p99, ms", quantile(delays, 0.99))
		among.beside("locks", float64(len(delays)))
		results = append(results, among)
	}
	return results, nil
}

func nothing(context.Context) error { return nil }

// meet starts a manager with unknown users, and measures until every user has a row and a status. The context of
// meanwhile ends then.
func (s *stage) meet(ctx context.Context, meanwhile func(context.Context) error) (*Result, error) {
	phase, err := s.launch(ctx)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- meanwhile(limited) }()
	took, err := s.allReady(ctx, phase.begun)
	cancel()
	if err := errors.Join(err, <-done); err != nil {
		return nil, err
	}
	counters, err := phase.end(ctx, Counters{apiStatusPatches: float64(s.users), apiResourcePatches: float64(s.users)})
	if err != nil {
		return nil, err
	}
	result := &Result{Users: s.users, Value: took.Seconds(), Unit: "s", Counters: counters}
	result.exactly(comparisons, 0)
	// A few may be written twice: the cache lags, or the row's notification is late.
	result.between(apiStatusPatches, float64(s.users), few(s.users))
	result.between(apiResourcePatches, float64(s.users), few(s.users))
	missing, err := s.notReady(ctx)
	if err == nil && missing > 0 {
		result.broken("%d users are not Ready", missing)
	}
	return result, err
}

// few returns n and some more.
func few(n int) float64 { return float64(n + n/10 + 5) }

// emptyStart returns how long a manager takes to be ready without users and with existing tables.
func (s *stage) emptyStart(ctx context.Context) (took time.Duration, err error) {
	for range 2 { // the first one creates the tables
		begun := time.Now()
		if err := s.start(); err != nil {
			return 0, err
		}
		if err := s.manager.Ready(ctx); err != nil {
			return 0, err
		}
		took = time.Since(begun)
		err := s.within(ctx, "the tables", poll, func(ctx context.Context) (there bool, err error) {
			err = s.db.QueryRow(ctx, "SELECT to_regclass('shardinguser_merges') IS NOT NULL").Scan(&there)
			return there, err
		})
		if err != nil {
			return 0, err
		}
		if err := s.stop(); err != nil {
			return 0, err
		}
	}
	return took, nil
}
