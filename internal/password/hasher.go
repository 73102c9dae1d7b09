// SPDX-License-Identifier: Apache-2.0

package password

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/bcrypt"
)

// A Hasher creates and compares bcrypt hashes on a limited number of cores, because probes, leases and watches need the
// rest. Calls that find all cores busy wait, logins before reconciles. Logins use [Hasher.Reserve]; all other calls
// count as reconciles. Up to four waiting calls share a core. A Hasher is safe for concurrent use.
type Hasher struct {
	cost     int
	minCost  int // the lowest cost that Matches accepts
	cores    cores
	maxCores int
	fault    error
	standIns *Fingerprinter // see StandIn

	reserved        atomic.Int64 // by logins
	maxReservations int
	dummy           string

	computed atomic.Uint64
	compared atomic.Uint64
	fastest  atomic.Int64 // nanoseconds for one hash alone; 0 before the first
}

// NewHasher returns a Hasher that creates hashes of the given cost, [MinCost] to [MaxCost], on at most cores cores. It
// computes one hash. It panics outside these limits, which the settings have to check.
func NewHasher(cost, cores int) *Hasher {
	return newHasher(cost, cores, MinCost, chosen)
}

// NewTestHasher returns a Hasher for tests that need many hashes. It uses bcrypt's lowest cost.
func NewTestHasher(cores int) *Hasher {
	return newHasher(bcrypt.MinCost, cores, bcrypt.MinCost, chosen)
}

// newHasher lets tests use a lower cost than MinCost, and another engine.
func newHasher(cost, cores, minCost int, choose func() (engine, error)) *Hasher {
	if cost < minCost || cost > MaxCost {
		panic(fmt.Sprintf("password: cost %d is not from %d to %d", cost, minCost, MaxCost))
	}
	if cores < 1 {
		panic(fmt.Sprintf("password: cannot hash on %d cores", cores))
	}
	h := &Hasher{cost: cost, minCost: minCost, maxCores: cores, standIns: NewFingerprinter()}
	h.cores.free = cores
	var e engine
	e, h.fault = choose()
	h.setEngine(e)
	h.makeDummy()
	return h
}

// setEngine must be called before the Hasher is used.
func (h *Hasher) setEngine(e engine) {
	compute := e.compute
	e.compute = func(batch []*job) {
		begun := time.Now()
		compute(batch)
		if len(batch) == 1 && batch[0].cost() == h.cost {
			h.took(time.Since(begun))
		}
	}
	h.cores.engine = e
	h.maxReservations = h.maxCores * (e.lanes + e.queue)
	h.cores.patience = h.maxReservations
}

// took keeps the shortest time; a longer one includes work of other programs.
func (h *Hasher) took(d time.Duration) {
	for {
		fastest := h.fastest.Load()
		if fastest != 0 && int64(d) >= fastest || h.fastest.CompareAndSwap(fastest, int64(d)) {
			return
		}
	}
}

// PerSecond returns how many hashes of the Hasher's cost its cores compute per second, one at a time on each. The first
// hash measures it, and each later one that has a core alone. If several jobs wait, two to three times as many are
// computed.
func (h *Hasher) PerSecond() float64 {
	return float64(h.maxCores) * float64(time.Second) / float64(h.fastest.Load())
}

// Fault returns why golang.org/x/crypto/bcrypt computes the hashes instead of internal/bcrypt: known hashes came out
// wrong. It is nil if they came out right, and never changes.
func (h *Hasher) Fault() error { return h.fault }

// Cores returns the maximum number of cores.
func (h *Hasher) Cores() int { return h.maxCores }

// Hash returns the bcrypt hash of plain, with prefix $2a$, a new salt and the Hasher's cost. It waits for a core until
// ctx ends, and then returns an error that wraps ctx's. A computation that has begun runs to its end. Hash also rejects
// what [Check] rejects at a minimum of one character, with the same errors.
func (h *Hasher) Hash(ctx context.Context, plain []byte) (string, error) {
	if err := Check(plain, 1); err != nil {
		return "", err
	}
	j := &job{plain: plain, setting: bcrypt.NewSetting(h.cost)}
	if err := h.cores.do(ctx, forReconcile, j); err != nil {
		return "", err
	}
	if j.made == "" {
		return "", fmt.Errorf("bcrypt cannot hash the password at cost %d", h.cost)
	}
	h.computed.Add(1)
	return j.made, nil
}

// Matches reports whether hash is a hash of plain, or a stand-in hash of it. It returns false without a computation for
// other hashes that [CheckHash] rejects, such as the empty string and "!", and for passwords that are empty, longer
// than [MaxBytes] bytes or contain a NUL. A stand-in hash needs no computation either. Use a [Reservation] if the
// duration must not reveal the reason of a refusal.
//
// It fails only if ctx ends before a core is free.
func (h *Hasher) Matches(ctx context.Context, hash string, plain []byte) (bool, error) {
	if IsStandIn(hash) {
		return checkBytes(plain) == nil && h.isStandInOf(hash, plain), nil
	}
	j := h.comparison(hash, plain)
	if j == nil {
		return false, nil
	}
	if err := h.cores.do(ctx, forReconcile, j); err != nil {
		return false, err
	}
	h.compared.Add(1)
	return j.matches, nil
}

// comparison returns the job that compares plain with hash; nil if bcrypt must not see one of them.
func (h *Hasher) comparison(hash string, plain []byte) *job {
	if checkBytes(plain) != nil || checkHash(hash, h.minCost) != nil {
		return nil
	}
	setting, err := bcrypt.Parse(hash)
	if err != nil {
		return nil
	}
	return &job{plain: plain, setting: setting, hash: hash}
}

// Computed returns how many hashes Hash has created.
func (h *Hasher) Computed() uint64 { return h.computed.Load() }

// Compared returns how many comparisons were computed for reconciles and logins together. Comparisons without bcrypt do
// not count.
func (h *Hasher) Compared() uint64 { return h.compared.Load() }
