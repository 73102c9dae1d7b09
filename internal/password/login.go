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

// ErrBusy reports that the maximum number of logins already waits for a core.
var ErrBusy = errors.New("more logins than the hashing cores can serve")

// A Reservation is the right of one login to one computation. A login gets it before its attempt is charged, so that no
// attempt is charged that the cores cannot serve. It is for one goroutine.
type Reservation struct {
	h    *Hasher
	by   fair.Key
	done atomic.Bool
}

// Reserve returns a reservation, or ErrBusy at once if there is none. At the default cost the last one waits for about
// a second. The key decides the order. The reservation has to be used or released.
func (h *Hasher) Reserve(by fair.Key) (*Reservation, error) {
	if h.reserved.Add(1) > int64(h.maxReservations) {
		h.reserved.Add(-1)
		return nil, ErrBusy
	}
	return &Reservation{h: h, by: by}, nil
}

// MaxReservations returns the maximum number of reservations.
func (h *Hasher) MaxReservations() int { return h.maxReservations }

// Release releases the reservation. After a computation it does nothing.
func (p *Reservation) Release() {
	if !p.done.Swap(true) {
		p.h.reserved.Add(-1)
	}
}

// Matches reports whether hash is a hash of plain, or a stand-in hash of it. It uses up the reservation and always
// costs exactly one bcrypt computation: a decision that [Hasher.Matches] makes without one takes as long as a hash of
// the Hasher's cost. So the duration does not reveal the reason of a refusal, except for hashes of another cost.
//
// It fails only if ctx ends before a core is free.
func (p *Reservation) Matches(ctx context.Context, hash string, plain []byte) (bool, error) {
	if p.done.Load() {
		panic("password: a reservation is for one computation")
	}
	defer p.Release()
	j := p.h.comparison(hash, plain)
	usable := j != nil
	isStandIn := checkBytes(plain) == nil && IsStandIn(hash) && p.h.isStandInOf(hash, plain)
	if !usable {
		j = p.h.comparison(p.h.dummy, []byte("a password of no user"))
	}
	j.by = p.by
	if err := p.h.cores.do(ctx, forLogin, j); err != nil {
		return false, err
	}
	p.h.compared.Add(1)
	return (j.matches && usable) || isStandIn, nil
}

// Dummy takes as long as Matches, for an attempt that is refused whatever its password is. It uses up the reservation.
func (p *Reservation) Dummy(ctx context.Context) error {
	_, err := p.Matches(ctx, "", nil)
	return err
}

// makeDummy sets the hash to compare with when there is no usable one: a hash of the Hasher's cost and of a random
// password.
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
