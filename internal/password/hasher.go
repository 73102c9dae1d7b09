// SPDX-License-Identifier: Apache-2.0

package password

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/bcrypt"
)

// A Hasher makes and compares bcrypt hashes, on so many cores at once and no
// more: bcrypt is pure computation, and what else the process has to do
// (probes, leases, the watch) needs room beside it. Who comes while all cores
// are taken waits in line, log-ins before reconciles: a log-in's computation
// goes through [Hasher.Reserve], all others are a reconcile's. Up to four of
// those who wait share a core. A Hasher may be used by any number of goroutines.
type Hasher struct {
	cost     int
	minCost  int // the lowest that Matches computes
	cores    cores
	maxCores int
	fault    error
	standIns *Fingerprinter // see Print

	reserved        atomic.Int64 // that log-ins hold
	maxReservations int
	dummy           string

	computed atomic.Uint64
	compared atomic.Uint64
	fastest  atomic.Int64 // nanoseconds that one hash of this cost took alone; 0 before the first one
}

// NewHasher returns a Hasher that makes hashes of the given cost, [MinCost] to
// [MaxCost], on at most cores cores, 1 or more, for which it computes one hash.
// It panics outside these limits, which are for the settings to check.
func NewHasher(cost, cores int) *Hasher {
	return newHasher(cost, cores, MinCost, verified)
}

// NewTestHasher returns a Hasher for tests that need many hashes: it makes them
// at bcrypt's lowest cost, and takes hashes of that cost.
func NewTestHasher(cores int) *Hasher {
	return newHasher(bcrypt.MinCost, cores, bcrypt.MinCost, verified)
}

// newHasher lets tests go below MinCost, and take another engine.
func newHasher(cost, cores, minCost int, chosen func() (engine, error)) *Hasher {
	if cost < minCost || cost > MaxCost {
		panic(fmt.Sprintf("password: cost %d is not from %d to %d", cost, minCost, MaxCost))
	}
	if cores < 1 {
		panic(fmt.Sprintf("password: cannot hash on %d cores", cores))
	}
	h := &Hasher{cost: cost, minCost: minCost, maxCores: cores, standIns: NewFingerprinter()}
	h.cores.free = cores
	var e engine
	e, h.fault = chosen()
	h.setEngine(e)
	h.makeDummy()
	return h
}

// setEngine is for a Hasher that nobody uses yet.
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

// took keeps the shortest time: a longer one shows that other programs ran.
func (h *Hasher) took(d time.Duration) {
	for {
		fastest := h.fastest.Load()
		if fastest != 0 && int64(d) >= fastest || h.fastest.CompareAndSwap(fastest, int64(d)) {
			return
		}
	}
}

// PerSecond returns how many hashes of the Hasher's cost its cores compute in a
// second, one at a time on each. It is measured: by the first hash, at the start,
// and by each one that had a core alone since. Where several wait it is two to
// three times as many.
func (h *Hasher) PerSecond() float64 {
	return float64(h.maxCores) * float64(time.Second) / float64(h.fastest.Load())
}

// Fault says why golang.org/x/crypto/bcrypt computes in place of our own bcrypt,
// one hash at a time: because ours gets hashes wrong that are known. It is nil
// where ours computes, and never changes.
func (h *Hasher) Fault() error { return h.fault }

// Cores is how many cores it takes at most.
func (h *Hasher) Cores() int { return h.maxCores }

// Hash returns the bcrypt hash of plain, with prefix $2a$, a new salt and the
// Hasher's cost. It waits for a core until ctx ends, and then returns an error
// that wraps ctx's; once begun, a computation runs to its end. What [Check]
// refuses at a minimum of one character is refused here too, with the same
// errors, lest a hash be stored that matches nothing or too much.
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

// Matches tells whether hash is one of plain, or a print of it. It is false,
// without any computation and without an error, for what is neither a print nor
// passes [CheckHash] (the empty string and "!" among it) and for passwords that
// are empty, longer than [MaxBytes] bytes or hold a NUL. A print takes no
// computation either. Callers whose time must not tell one refusal from another
// use a [Reservation].
//
// The only errors are ctx's, when it ends before a core is free.
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

// comparison is the job of comparing plain with hash, nil where one of them is
// none that bcrypt may see.
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

// Computed returns how many hashes Hash has produced.
func (h *Hasher) Computed() uint64 { return h.computed.Load() }

// Compared returns how many comparisons have been computed, for reconciles and
// log-ins together; those that were answered without bcrypt do not count.
func (h *Hasher) Compared() uint64 { return h.compared.Load() }
