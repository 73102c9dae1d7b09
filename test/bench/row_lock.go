// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const (
	// By default the fifth failure locks.
	failuresBeforeLast = 4

	// The manager writes at most 20 statuses a second because of logins. Single locks are measured slowly enough to
	// stay below that limit.
	spacing = 150 * time.Millisecond

	lockRows   = `UPDATE users SET failed_login_attempts = 5, locked_until = now() AT TIME ZONE 'UTC' + interval '15 minutes'`
	unlockRows = `UPDATE users SET failed_login_attempts = 0, locked_until = NULL`
	these      = ` WHERE username = ANY($1)`
)

// A story is a watch of users that become locked and unlocked.
type story struct {
	*stage
	events <-chan watch.Event
}

// watching runs a measurement with a watch.
func (s *stage) watching(ctx context.Context, do func(*story) ([]Result, error)) ([]Result, error) {
	if err := s.ensureManager(ctx); err != nil {
		return nil, err
	}
	events, stop, err := s.watch(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	return do(&story{s, events})
}

// lock locks users by SQL, as the sharding manager does, and waits until the watch shows it.
func (y *story) lock(ctx context.Context, names ...string) (time.Duration, error) {
	begun := time.Now()
	if err := y.exec(ctx, lockRows+these, names); err != nil {
		return 0, fmt.Errorf("lock: %w", err)
	}
	return since(begun, y.await(ctx, y.events, names, true))
}

func (y *story) unlock(ctx context.Context, names ...string) error {
	if err := y.exec(ctx, unlockRows+these, names); err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	return y.await(ctx, y.events, names, false)
}

// lock measures rows that are locked by SQL one at a time, beside the raw calls for the same result.
func lock(ctx context.Context, s *stage) ([]Result, error) {
	return s.watching(ctx, func(y *story) ([]Result, error) {
		locked := names(min(s.size.repeat, s.users))
		phase, err := s.begin(ctx)
		if err != nil {
			return nil, err
		}
		tick := time.NewTicker(spacing)
		defer tick.Stop()
		var delays, limits []float64
		for _, username := range locked {
			<-tick.C
			delay, err := y.lock(ctx, username)
			if err != nil {
				return nil, err
			}
			<-tick.C
			limit, err := s.raw.lock(ctx, username)
			if err != nil {
				return nil, err
			}
			delays, limits = append(delays, milliseconds(delay)), append(limits, milliseconds(limit))
		}
		counters, err := phase.end(ctx, Counters{statusWrites: float64(len(locked))})
		if err != nil {
			return nil, err
		}
		typical := Result{
			Row: "lock", What: "locked by SQL → a watch sees it, p50", Users: s.users,
			Value: median(delays), Unit: "ms", Aim: ratioAtMost(1.6), Counters: counters,
		}
		typical.against(median(limits), "notification, SELECT, status write")
		typical.exactly(hashes, 0)
		typical.between(statusWrites, float64(len(locked)), few(len(locked)))
		worst := Result{
			Row: "lock", What: "locked by SQL → a watch sees it, p99", Users: s.users, Value: quantile(delays, 0.99), Unit: "ms", Aim: valueAtMost(30),
		}
		worst.against(quantile(limits, 0.99), "notification, SELECT, status write, p99")
		return []Result{typical, worst}, y.unlock(ctx, locked...)
	})
}

// locksMeanwhile locks one reconciled row a second by SQL until ctx ends, and returns the milliseconds until a watch
// showed it. The rows stay locked.
func (s *stage) locksMeanwhile(ctx context.Context) (delays []float64, err error) {
	conn, err := pgx.Connect(ctx, s.administrator()) // the other connections are in use
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return delays, nil
		}
		var username string
		err := conn.QueryRow(ctx, `SELECT username FROM shardinguser_ownership JOIN users USING (username)
			WHERE locked_until IS NULL AND changed_at < now() - interval '5 s' LIMIT 1`).Scan(&username)
		if err != nil {
			continue // no row yet, or no table
		}
		delay, err := s.lockWatched(ctx, conn, username)
		switch {
		case ctx.Err() != nil: // ended meanwhile
			return delays, nil
		case err != nil:
			return delays, err
		}
		delays = append(delays, milliseconds(delay))
	}
}

// lockWatched locks one user, with a watch of this user alone.
func (s *stage) lockWatched(ctx context.Context, conn *pgx.Conn, username string) (time.Duration, error) {
	w, err := s.api.Watch(ctx, &v1alpha1.ShardingUserList{}, client.InNamespace(s.namespace),
		client.MatchingFields{"metadata.name": username})
	if err != nil {
		return 0, fmt.Errorf("watch a user: %w", err)
	}
	defer w.Stop()
	begun := time.Now()
	if _, err := conn.Exec(ctx, lockRows+these, []string{username}); err != nil {
		return 0, fmt.Errorf("lock: %w", err)
	}
	return since(begun, s.await(ctx, w.ResultChan(), []string{username}, true))
}

// lockAll measures many rows that are locked by one statement.
func lockAll(ctx context.Context, s *stage) ([]Result, error) {
	return s.watching(ctx, func(y *story) ([]Result, error) {
		locked := names(min(s.size.locks, s.users))
		raw, err := s.raw.statuses(ctx, len(locked)/2)
		if err != nil {
			return nil, err
		}
		phase, err := s.begin(ctx)
		if err != nil {
			return nil, err
		}
		took, err := y.lock(ctx, locked...)
		if err != nil {
			return nil, err
		}
		counters, err := phase.end(ctx, Counters{statusWrites: float64(len(locked))})
		if err != nil {
			return nil, err
		}
		after, err := s.raw.statuses(ctx, len(locked)-len(locked)/2)
		if err != nil {
			return nil, err
		}
		result := Result{
			Row: "locks", What: fmt.Sprintf("%d rows locked at once → all seen", len(locked)), Users: s.users,
			Value: took.Seconds(), Unit: "s", Aim: ratioAtMost(1.25), Counters: counters,
		}
		result.against((raw + after).Seconds(), fmt.Sprintf("%d raw status writes", len(locked)))
		result.exactly(hashes, 0)
		result.between(statusWrites, float64(len(locked)), few(len(locked)))
		return []Result{result}, y.unlock(ctx, locked...)
	})
}

// fifth measures the lock of the fifth wrong password, from its response until a watch shows it.
func fifth(ctx context.Context, s *stage) ([]Result, error) {
	return s.watching(ctx, func(y *story) ([]Result, error) {
		locked := names(min(s.size.repeat/2, s.users))
		fail := func(ctx context.Context, username string) error {
			answer, err := s.manager.LogIn(ctx, username, "a wrong password")
			return expect(http.StatusUnauthorized, answer, err)
		}
		err := atOnce(ctx, 8, failuresBeforeLast*len(locked), func(ctx context.Context, i int) error {
			return fail(ctx, locked[i%len(locked)])
		})
		if err != nil {
			return nil, err
		}
		tick := time.NewTicker(spacing)
		defer tick.Stop()
		var delays []float64
		for _, username := range locked {
			<-tick.C
			if err := fail(ctx, username); err != nil {
				return nil, err
			}
			begun := time.Now()
			if err := y.await(ctx, y.events, []string{username}, true); err != nil {
				return nil, err
			}
			delays = append(delays, milliseconds(time.Since(begun)))
		}
		result := Result{
			Row: "fifth", What: "answer to the fifth failure → a watch sees the lock, p50", Users: s.users,
			Value: median(delays), Unit: "ms",
		}
		result.beside("worst, ms", quantile(delays, 1))
		return []Result{result}, y.unlock(ctx, locked...)
	})
}

// expect returns an error if a response has another status.
func expect(status int, answer testenv.Answer, err error) error {
	if err == nil && answer.Status != status {
		err = fmt.Errorf("status %d, want %d", answer.Status, status)
	}
	return err
}
