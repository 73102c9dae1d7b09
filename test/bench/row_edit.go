// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// look is the interval of queries for a changed row. It is short enough not to matter.
const look = time.Millisecond

// rotate measures Secrets that change one at a time, from the API server's response until the row has another hash,
// each beside one bcrypt.
func rotate(ctx context.Context, s *stage) ([]Result, error) {
	if err := s.ensureManager(ctx); err != nil {
		return nil, err
	}
	repeat := min(s.size.repeat, s.users)
	phase, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	var delays, limits []float64
	for n := range repeat {
		pure, err := oneHash()
		if err != nil {
			return nil, err
		}
		limits = append(limits, milliseconds(pure))
		delay, err := s.rotateOne(ctx, n)
		if err != nil {
			return nil, err
		}
		delays = append(delays, milliseconds(delay))
	}
	if err := s.quiet(ctx); err != nil {
		return nil, err
	}
	counters, err := phase.end(ctx, nil)
	if err != nil {
		return nil, err
	}
	delete(counters, wallTime) // it includes waits
	typical := Result{
		Row: "rotate", What: "Secret changed → new hash in the row, p50", Users: s.users,
		Value: median(delays), Unit: "ms", Aim: ratioAtMost(1.1), Counters: counters,
	}
	typical.against(median(limits), "one bcrypt")
	typical.exactly(hashes, float64(repeat))
	typical.exactly(comparisons, 0)
	typical.between(statusWrites, float64(repeat), few(repeat))
	worst := Result{
		Row: "rotate", What: "Secret changed → new hash in the row, p99", Users: s.users, Value: quantile(delays, 0.99), Unit: "ms", Aim: ratioAtMost(1.5),
	}
	worst.against(median(limits), "one bcrypt, p50")
	worst.beside("one bcrypt, p99, ms", quantile(limits, 0.99))
	return []Result{typical, worst}, nil
}

// rotateOne gives the n-th user another password.
func (s *stage) rotateOne(ctx context.Context, n int) (time.Duration, error) {
	before, err := s.hashOf(ctx, name(n))
	if err != nil {
		return 0, fmt.Errorf("read a hash: %w", err)
	}
	s.passwords[n] = newPassword()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name(n)}}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"stringData":{"password":"`+s.passwords[n]+`"}}`))
	if err := s.api.Patch(ctx, secret, patch); err != nil {
		return 0, fmt.Errorf("change a Secret: %w", err)
	}
	begun := time.Now()
	err = s.within(ctx, "another hash", look, func(ctx context.Context) (bool, error) {
		now, err := s.hashOf(ctx, name(n))
		return now != before, err
	})
	return time.Since(begun), err
}

// tooLong is the time after which an edit counts as lost, for a product that lets it wait.
const tooLong = time.Minute

// edits are milliseconds from requests to the API server's responses and to the changes of the rows.
type edits struct{ answered, took []float64 }

// edit measures edits of existing users, alone and while many others are created.
func edit(ctx context.Context, s *stage) ([]Result, error) {
	if err := s.ensureManager(ctx); err != nil {
		return nil, err
	}
	var alone edits
	for i := range s.size.repeat {
		if err := s.editOne(ctx, i, &alone); err != nil {
			return nil, err
		}
	}
	phase, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	among, err := s.editsDuring(ctx, func(ctx context.Context) error {
		_, err := s.createPlain(ctx, s.users, s.size.users)
		return err
	})
	if err != nil {
		return nil, err
	}
	counters, err := phase.end(ctx, nil)
	if err != nil {
		return nil, err
	}
	// The bench's own writes count as much.
	delete(counters, apiResourcePatches)
	result := Result{
		Row: "edit", What: fmt.Sprintf("1 edit among %d users that are being created → in the row, p99", s.size.users), Users: s.users,
		Value: quantile(among.took, 0.99), Unit: "ms", Aim: valueAtMost(1000), Counters: counters,
	}
	result.against(median(alone.took), "one edit alone, p50")
	result.beside("p50, ms", median(among.took))
	result.beside("p99 of the API server's answer, ms", quantile(among.answered, 0.99))
	result.beside("alone, p99, ms", quantile(alone.took, 0.99))
	result.beside("edits", float64(len(among.took)))
	return []Result{result}, nil
}

// editsDuring edits one user after another, a few a second, until work is done and there were enough edits.
func (s *stage) editsDuring(ctx context.Context, work func(context.Context) error) (all edits, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	worked := make(chan error, 1)
	go func() { worked <- work(ctx) }()
	tick := time.NewTicker(2 * spacing)
	defer tick.Stop()
	for done := false; !done || len(all.took) < s.size.repeat; {
		<-tick.C
		if err := s.editOne(ctx, s.size.repeat+len(all.took), &all); err != nil {
			return all, err
		}
		if all.took[len(all.took)-1] >= milliseconds(tooLong) {
			break
		}
		select {
		case err := <-worked:
			if err != nil {
				return all, err
			}
			done = true
		default:
		}
	}
	return all, nil
}

// editOne gives a user another role and adds the time until the row has it, tooLong at most.
func (s *stage) editOne(ctx context.Context, i int, all *edits) error {
	username, role := name(i%s.users), fmt.Sprintf("role-%d", i)
	u := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: username}}
	begun := time.Now()
	if err := s.api.Patch(ctx, u, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"roles":["`+role+`"]}}`))); err != nil {
		return fmt.Errorf("edit a user: %w", err)
	}
	all.answered = append(all.answered, milliseconds(time.Since(begun)))
	limited, cancel := context.WithTimeout(ctx, tooLong)
	defer cancel()
	err := s.within(limited, "the edit", 2*look, func(ctx context.Context) (there bool, err error) {
		err = s.db.QueryRow(ctx, "SELECT roles ? $2 FROM users WHERE username = $1", username, role).Scan(&there)
		return there, err
	})
	took := time.Since(begun)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		took = tooLong
		err = s.reconnect(ctx) // a query that the deadline ends closes its connection
	}
	all.took = append(all.took, milliseconds(took))
	return err
}
