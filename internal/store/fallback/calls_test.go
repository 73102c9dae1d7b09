// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// A login keeps its hashing slot until its call returns, so a call that hangs ends once the fallback can decide.
func TestACallThatHangsEndsShortlyAfterTheFallbackBegins(t *testing.T) {
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
				time.AfterFunc(3*time.Second, func() { w.db.unavailable.Store(true) })
				if err := hang(w, ctx, charged); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("the call that hangs: %v", err)
				}
				if took := time.Since(began); took > 4*time.Second {
					t.Errorf("it took %v", took)
				}
				if charged := w.charge("alice"); !charged.Fallback {
					t.Errorf("the next attempt: %+v", charged)
				}
				// An attempt that was charged before the fallback, and is settled during it, does not hang either.
				began = time.Now()
				if _, err := w.Settle(ctx, charged, true); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("a settlement during the fallback: %v", err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("it took %v", took)
				}
				w.db.hangs.Store(false)
			})
		})
	}
}

// The error of the caller's context is returned unchanged.
func TestACallWhoseCallerGivesUpStartsNoFallback(t *testing.T) {
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
