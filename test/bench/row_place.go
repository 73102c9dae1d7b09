// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// restart measures a manager that finds everything in place, from the start of its process until it has reconciled all
// users: the median of a few runs.
func restart(ctx context.Context, s *stage) ([]Result, error) {
	var took, limits []time.Duration
	var results []Result
	for range min(3, s.size.rounds) {
		if err := s.stop(); err != nil {
			return nil, err
		}
		limit, err := s.raw.lists(ctx)
		if err != nil {
			return nil, err
		}
		limits = append(limits, limit)
		result, err := s.lookAtAll(ctx)
		if err != nil {
			return nil, err
		}
		took = append(took, time.Duration(result.Value*float64(time.Second)))
		results = append(results, *result)
	}
	typical := results[slices.Index(took, median(took))]
	for _, result := range results {
		for _, sentence := range result.Broken {
			if !slices.Contains(typical.Broken, sentence) {
				typical.broken("%s", sentence)
			}
		}
	}
	typical.against(median(limits).Seconds(), "raw lists and one SELECT")
	typical.Aim = ratioAtMost(2)
	typical.beside("start in an empty cluster, ready, s", s.emptyTook.Seconds())
	return []Result{typical}, nil
}

// lookAtAll starts a manager that has nothing to do, and waits until it has reconciled all users.
func (s *stage) lookAtAll(ctx context.Context) (*Result, error) {
	phase, err := s.launch(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.manager.Ready(ctx); err != nil {
		return nil, err
	}
	ready := time.Since(phase.begun)
	err = s.within(ctx, "all users to be reconciled", s.scrapes(), func(ctx context.Context) (bool, error) {
		counted, ok := s.scrape(ctx)
		return ok && counted[reconciles] >= float64(s.users) && counted[queued] == 0, nil
	})
	if err != nil {
		return nil, err
	}
	took := time.Since(phase.begun)
	counters, err := phase.end(ctx, nil)
	if err != nil {
		return nil, err
	}
	result := &Result{
		Row: "restart", What: fmt.Sprintf("restart, %d users in place", s.users), Users: s.users,
		Value: took.Seconds(), Unit: "s", Counters: counters,
	}
	result.beside("ready, s", ready.Seconds())
	result.exactly(hashes, 0)
	result.exactly(comparisons, 0)
	result.exactly(statusWrites, 0)
	result.exactly(apiStatusPatches, 0)
	result.exactly(apiResourcePatches, 0)
	result.exactly(apiEvents, 0)
	result.atMost(apiSecretReads, 1) // the key of the digests, but no password
	result.atMost(sqlSelects, selectsAtRestart(s.users))
	return result, nil
}

// selectsAtRestart is the maximum number of SELECTs of a restart: rows are read in batches, and some statements check
// the schema, the trigger and changes.
func selectsAtRestart(users int) float64 { return float64(60 + users/10) }

// memory returns the manager's memory with all users in place: now, at most since the start, and after it reconciled
// all users for the first time.
func memory(ctx context.Context, s *stage) ([]Result, error) {
	if err := s.ensureManager(ctx); err != nil {
		return nil, err
	}
	now, peak, err := residentOf(s.manager.PID())
	if err != nil {
		return nil, err
	}
	if err := s.heap(ctx); err != nil {
		return nil, err
	}
	body, err := s.apiMetrics(ctx)
	if err != nil {
		return nil, err
	}
	result := Result{
		Row: "memory", What: fmt.Sprintf("resident, %d users", s.users), Users: s.users, Value: now, Unit: "MiB",
	}
	switch {
	case s.users <= 10_000:
		result.Aim = valueAtMost(120)
	case s.users <= 100_000:
		result.Aim = valueAtMost(700)
	}
	result.beside("after the first meeting, MiB", s.formerRSS)
	result.beside("peak, MiB", peak)
	for metric, value := range samples(body) {
		if metric.name == "apiserver_storage_size_bytes" {
			result.beside("etcd's file, MiB", value/(1<<20))
		}
	}
	var tables float64
	if err := s.db.QueryRow(ctx, "SELECT pg_total_relation_size('users') + pg_total_relation_size('shardinguser_ownership')").
		Scan(&tables); err != nil {
		return nil, fmt.Errorf("measure the tables: %w", err)
	}
	result.beside("tables and indexes, MiB", tables/(1<<20))
	return []Result{result}, nil
}

// lastTable is the table that the manager creates last.
const lastTable = "shardinguser_probes"

// unowned measures the manager's memory beside a large table without owners: at rest, and at most since the start.
func unowned(ctx context.Context, s *stage) ([]Result, error) {
	if err := s.ensureManager(ctx); err != nil { // which creates the tables
		return nil, err
	}
	err := s.within(ctx, "the tables", poll, func(ctx context.Context) (there bool, err error) {
		err = s.db.QueryRow(ctx, "SELECT to_regclass('"+lastTable+"') IS NOT NULL").Scan(&there)
		return there, err
	})
	if err != nil {
		return nil, err
	}
	if err := s.stop(); err != nil {
		return nil, err
	}
	err = s.exec(ctx, "INSERT INTO users (username, password_hash) "+
		"SELECT 'unowned-' || n || '@example.com', '$2a$10$' || rpad(md5(n::text), 53, '.') FROM generate_series(1, $1::int) n", s.size.unowned)
	if err != nil {
		return nil, fmt.Errorf("fill the table: %w", err)
	}
	if err := s.start(); err != nil {
		return nil, err
	}
	if err := s.manager.Ready(ctx); err != nil {
		return nil, err
	}
	last, since := 0.0, time.Now()
	err = s.within(ctx, "the table to be known", s.scrapes(), func(ctx context.Context) (bool, error) {
		counted, ok := s.scrape(ctx)
		if n := counted[accountCopies]; !ok || n == 0 || n != last {
			last, since = n, time.Now()
			return false, nil
		}
		return time.Since(since) > s.size.sweeps, nil
	})
	if err != nil {
		return nil, err
	}
	now, peak, err := residentOf(s.manager.PID())
	if err != nil {
		return nil, err
	}
	result := Result{
		Row: "unowned", What: fmt.Sprintf("peak resident, %d rows that nobody owns", s.size.unowned), Users: s.users, Value: peak, Unit: "MiB",
	}
	if s.size.unowned <= 1_000_000 {
		result.Aim = valueAtMost(300)
	}
	result.beside("at rest, MiB", now)
	result.beside("copies of accounts", last)
	return []Result{result}, s.heap(ctx)
}

// idle measures a manager that has nothing to do.
func idle(ctx context.Context, s *stage) ([]Result, error) {
	if err := s.ensureManager(ctx); err != nil {
		return nil, err
	}
	phase, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(s.size.idle)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.manager.Ended():
		return nil, s.manager.Err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	counters, err := phase.end(ctx, nil)
	if err != nil {
		return nil, err
	}
	result := Result{
		Row: "idle", What: fmt.Sprintf("idle for %s, %d users: CPU of the manager", s.size.idle, s.users), Users: s.users,
		Value: 100 * counters[cpuManager] / counters[wallTime], Unit: "% of a core", Aim: valueAtMost(1), Counters: counters,
	}
	result.beside("CPU of Postgres, % of a core", 100*counters[cpuPostgres]/counters[wallTime])
	result.exactly(hashes, 0)
	result.exactly(comparisons, 0)
	result.exactly(statusWrites, 0)
	result.exactly(apiStatusPatches, 0)
	result.exactly(apiResourcePatches, 0)
	now, _, err := residentOf(s.manager.PID())
	result.beside("resident, MiB", now)
	return []Result{result}, err
}
