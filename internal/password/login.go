// SPDX-License-Identifier: Apache-2.0

package password

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/sharding-system/shardinguser-operator/internal/bcrypt"
	"github.com/sharding-system/shardinguser-operator/internal/fair"
)

// ErrBusy says that as many log-ins wait for a core as may.
var ErrBusy = errors.New("more logins than the hashing cores can serve")

// A Reservation is one log-in's right to one computation. It is had before the
// attempt is charged, so that nobody is charged whom the cores cannot serve.
// Its methods may be called by one goroutine.
type Reservation struct {
	h    *Hasher
	by   fair.Key
	done atomic.Bool
}

// Reserve returns a place in the log-ins' queue, or ErrBusy at once where there
// is none: at the usual cost, the last in it waits for about a second. The key
// decides when its computation has a core. A place is computed with, or given back.
func (h *Hasher) Reserve(by fair.Key) (*Reservation, error) {
	if h.reserved.Add(1) > int64(h.maxReservations) {
		h.reserved.Add(-1)
		return nil, ErrBusy
	}
	return &Reservation{h: h, by: by}, nil
}

// MaxReservations returns how many places there are.
func (h *Hasher) MaxReservations() int { return h.maxReservations }

// Release gives the place back. It may be called after a computation, and then
// does nothing.
func (p *Reservation) Release() {
	if !p.done.Swap(true) {
		p.h.reserved.Add(-1)
	}
}

// Matches tells whether hash is one of plain, or a print of it, at the price of
// exactly one bcrypt computation, and uses up the place: what [Hasher.Matches]
// decides without any computation is decided here at the Hasher's cost, so that
// the time does not tell one refusal from another. The time of a hash of
// another cost still does.
//
// The only errors are ctx's, when it ends before a core is free.
func (p *Reservation) Matches(ctx context.Context, hash string, plain []byte) (bool, error) {
	if p.done.Load() {
		panic("password: a place is for one computation")
	}
	defer p.Release()
	j := p.h.comparison(hash, plain)
	usable := j != nil
	printed := checkBytes(plain) == nil && IsStandIn(hash) && p.h.isStandInOf(hash, plain)
	if !usable {
		j = p.h.comparison(p.h.dummy, []byte("nobody's password"))
	}
	j.by = p.by
	if err := p.h.cores.do(ctx, forLogin, j); err != nil {
		return false, err
	}
	p.h.compared.Add(1)
	return (j.matches && usable) || printed, nil
}

// Dummy computes as much as Matches does, for an attempt that is refused
// whatever its password is, and uses up the place.
func (p *Reservation) Dummy(ctx context.Context) error {
	_, err := p.Matches(ctx, "", nil)
	return err
}

// makeDummy sets the hash that is compared with where no other may be: a real
// one of the Hasher's cost, of a password that nobody ever knew.
func (h *Hasher) makeDummy() {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	j := &job{plain: secret, setting: bcrypt.NewSetting(h.cost)}
	h.cores.compute([]*job{j})
	if j.made == "" {
		panic(fmt.Sprintf("password: bcrypt cannot hash at cost %d", h.cost))
	}
	h.dummy = j.made
}
