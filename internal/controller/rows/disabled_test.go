// SPDX-License-Identifier: Apache-2.0

package rows

import (
	"context"
	"errors"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// answers is a store that answers the first change and the second one.
type answers struct {
	Store
	first, second answer
	changes       []user.Change
}

type answer struct {
	after user.Observed
	err   error
}

func (a *answers) Apply(_ context.Context, change user.Change) (user.Observed, error) {
	a.changes = append(a.changes, change)
	if len(a.changes) == 1 {
		return a.first.after, a.first.err
	}
	return a.second.after, a.second.err
}

func TestARowIsMadeInactiveWithoutADisabledHash(t *testing.T) {
	const hash, disabled = "$2a$10$hash", "!2a$10$hash"
	observed := func(row user.Row, revision int64) user.Observed {
		return user.Observed{Row: &row, Ownership: &user.Ownership{State: user.Owned, Revision: revision}}
	}
	active, inactive, shut := user.Row{PasswordHash: hash, Active: true}, user.Row{PasswordHash: hash}, user.Row{PasswordHash: disabled}
	refusal := &store.RejectedError{Sentence: "A constraint."}
	update := user.Change{Verb: user.Update, Revision: 7, Write: []user.Field{user.FieldActive, user.FieldPasswordHash}}
	activation := update
	activation.Active = true
	for name, tt := range map[string]struct {
		change        user.Change
		first, second answer
		again         bool // it is made again without a disabled hash
		refusal, err  error
		stays         bool // the row is still active
	}{
		"it is made once if the database accepts it": {
			change: update, first: answer{after: observed(shut, 8)},
		},
		"it is made again if the database rejects it": {
			change: update, first: answer{err: refusal}, second: answer{after: observed(inactive, 8)}, again: true, refusal: refusal,
		},
		"so is a deactivation": {
			change: user.Change{Verb: user.Deactivate, Revision: 7},
			first:  answer{err: refusal}, second: answer{after: observed(inactive, 8)}, again: true, refusal: refusal,
		},
		"so is the suspension of an account whose resource is gone": {
			change: user.Change{Verb: user.Suspend, Revision: 7},
			first:  answer{err: refusal}, second: answer{after: observed(inactive, 8)}, again: true, refusal: refusal,
		},
		"it is made again if the database skips it": {
			change: update, first: answer{after: observed(active, 7)}, second: answer{after: observed(inactive, 8)}, again: true,
		},
		"one that the database changed is left to the next plan": {
			change: update, first: answer{after: observed(active, 8)}, stays: true,
		},
		"a row that stays active with a disabled hash is not written again": {
			change: update, first: answer{after: observed(user.Row{PasswordHash: disabled, Active: true}, 7)}, stays: true,
		},
		"a rejection for another cause than the hash is returned": {
			change: update, first: answer{err: refusal}, second: answer{err: refusal}, again: true, refusal: refusal, err: store.ErrRejected,
		},
		"so is a conflict": {change: update, first: answer{err: store.ErrConflict}, err: store.ErrConflict},
		"so is an outage":  {change: update, first: answer{err: store.ErrUnavailable}, err: store.ErrUnavailable},
		"a rejected activation is not made without its hash": {
			change: activation, first: answer{err: refusal}, err: store.ErrRejected,
		},
		"a rejected deletion is not made again": {
			change: user.Change{Verb: user.Delete, Revision: 7}, first: answer{err: refusal}, err: store.ErrRejected,
		},
	} {
		t.Run(name, func(t *testing.T) {
			accounts := &answers{first: tt.first, second: tt.second}
			after, refused, err := ApplyInactive(t.Context(), accounts, tt.change)
			if !errors.Is(refused, tt.refusal) || (refused == nil) != (tt.refusal == nil) {
				t.Errorf("the refusal is %v, want %v", refused, tt.refusal)
			}
			if again := len(accounts.changes) == 2; again != tt.again || again && !accounts.changes[1].KeepHash {
				t.Errorf("the changes were %+v", accounts.changes)
			}
			if !errors.Is(err, tt.err) {
				t.Errorf("the error is %v, want %v", err, tt.err)
			}
			if stays := err == nil && after.Row.Active; stays != tt.stays {
				t.Errorf("the row stays active: %t, want %t", stays, tt.stays)
			}
		})
	}
}
