// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// A login keeps a place to hash in until its call returns, so a call that hangs ends once the fallback can decide.
func TestACallThatHangsEndsShortlyAfterAnOutageBegins(t *testing.T) {
	attempt := store.Attempt{Username: "alice"}
	for name, hang := range map[string]func(w *world, ctx context.Context, charged store.Charge) error{
		"a charge": func(w *world, ctx context.Context, _ store.Charge) error {
			_, err := w.Charge(ctx, attempt, limits)
			return err
		},
		"the settlement of a right password": func(w *world, ctx context.Context, charged store.Charge) error {
			_, err := w.Settle(ctx, charged, true)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, false, nil, func(w *world) {
				ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
				defer cancel()
				charged := w.charge("alice")
				w.db.hangs.Store(true)
				began := time.Now()
				time.AfterFunc(3*time.Second, func() { w.db.away.Store(true) })
				if err := hang(w, ctx, charged); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("the call that hangs: %v", err)
				}
				if took := time.Since(began); took > 4*time.Second {
					t.Errorf("it took %v", took)
				}
				if charged := w.charge("alice"); !charged.Fallback {
					t.Errorf("the next attempt: %+v", charged)
				}
				// What is settled during the outage, and was charged before it, does not hang for longer.
				began = time.Now()
				if _, err := w.Settle(ctx, charged, true); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("a settlement during the outage: %v", err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("it took %v", took)
				}
				w.db.hangs.Store(false)
			})
		})
	}
}

// The caller's own end is passed on as it is.
func TestACallWhoseCallerGivesUpIsNoOutage(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.db.hangs.Store(true)
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		_, err := w.Charge(ctx, store.Attempt{Username: "alice"}, limits)
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		w.db.hangs.Store(false)
	})
}
