// SPDX-License-Identifier: Apache-2.0

package orphans

import (
	"context"
	"errors"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/controller/rows"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// answers is a store that answers changes one after the other.
type answers struct {
	rows.Store
	left []answer
}

type answer struct {
	row *user.Row
	err error
}

func (a *answers) Apply(_ context.Context, change user.Change) (user.Observed, error) {
	next := a.left[0]
	a.left = a.left[1:]
	if next.err != nil {
		return user.Observed{}, next.err
	}
	revision := change.Revision + 1
	if next.row != nil && next.row.Active {
		revision = change.Revision // it was skipped
	}
	return user.Observed{Row: next.row, Ownership: &user.Ownership{Revision: revision}}, nil
}

func TestTheRowOfADeletedResourceIsDeactivated(t *testing.T) {
	const hash, disabled = "$2a$10$hash", "!2a$10$hash"
	rejection := &store.RejectedError{Sentence: "A constraint."}
	for name, tt := range map[string]struct {
		answers []answer
		want    error
	}{
		"with a disabled hash": {[]answer{{row: &user.Row{PasswordHash: disabled}}}, nil},
		"without a disabled hash, if the database rejects that": {
			[]answer{{err: rejection}, {row: &user.Row{PasswordHash: hash}}}, nil,
		},
		"but not if the database keeps it active": {
			[]answer{{row: &user.Row{PasswordHash: hash, Active: true}}, {row: &user.Row{PasswordHash: hash, Active: true}}}, errStaysActive,
		},
		"but not if the database rejects it": {[]answer{{err: rejection}, {err: rejection}}, store.ErrRejected},
		"but not after a conflict":           {[]answer{{err: store.ErrConflict}}, store.ErrConflict},
		"but not in an outage":               {[]answer{{err: store.ErrUnavailable}}, store.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			accounts := &answers{left: tt.answers}
			err := deactivateGone(t.Context(), accounts, user.Change{Verb: user.Deactivate, Revision: 7})
			if !errors.Is(err, tt.want) || len(accounts.left) > 0 {
				t.Errorf("the error is %v, want %v; %d calls were not made", err, tt.want, len(accounts.left))
			}
		})
	}
}
