// SPDX-License-Identifier: Apache-2.0

package password

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/crypto/bcrypt"
)

// A Hasher makes and compares bcrypt hashes, on so many cores at once and no
// more: bcrypt is pure computation, and what else the process has to do
// (probes, leases, the watch) needs room beside it. Who comes while all cores
// are taken waits in line, log-ins before reconciles: a log-in's computation
// goes through [Hasher.Reserve], all others are a reconcile's. A Hasher may be
// used by any number of goroutines.
type Hasher struct {
	cost    int
	minCost int // the lowest that Matches computes
	cores   cores
	prints  *Fingerprinter // see Print

	places    atomic.Int64 // that log-ins hold
	maxPlaces int
	dummy     string

	// bcrypt's two functions, for tests to stand in for.
	generate func(plain []byte, cost int) ([]byte, error)
	compare  func(hash, plain []byte) error

	computed atomic.Uint64
	compared atomic.Uint64
}

// NewHasher returns a Hasher that makes hashes of the given cost, [MinCost] to
// [MaxCost], on at most cores cores, 1 or more, for which it computes one hash.
// It panics outside these limits, which are for the settings to check.
func NewHasher(cost, cores int) *Hasher {
	return newHasher(cost, cores, MinCost)
}

// NewTestHasher returns a Hasher for tests that need many hashes: it makes them
// at bcrypt's lowest cost, and takes hashes of that cost.
func NewTestHasher(cores int) *Hasher {
	return newHasher(bcrypt.MinCost, cores, bcrypt.MinCost)
}

// newHasher lets tests go below MinCost.
func newHasher(cost, cores, minCost int) *Hasher {
	if cost < minCost || cost > MaxCost {
		panic(fmt.Sprintf("password: cost %d is not from %d to %d", cost, minCost, MaxCost))
	}
	if cores < 1 {
		panic(fmt.Sprintf("password: cannot hash on %d cores", cores))
	}
	h := &Hasher{
		cost:      cost,
		minCost:   minCost,
		prints:    NewFingerprinter(),
		maxPlaces: cores * (1 + queuePerCore),
		generate:  bcrypt.GenerateFromPassword,
		compare:   bcrypt.CompareHashAndPassword,
	}
	h.cores.free, h.cores.patience = cores, h.maxPlaces
	h.makeDummy()
	return h
}

// Cores is how many cores it takes at most.
func (h *Hasher) Cores() int { return h.maxPlaces / (1 + queuePerCore) }

// Hash returns the bcrypt hash of plain, with prefix $2a$, a new salt and the
// Hasher's cost. It waits for a core until ctx ends, and then returns an error
// that wraps ctx's; once begun, a computation runs to its end. What [Check]
// refuses at a minimum of one character is refused here too, with the same
// errors, lest a hash be stored that matches nothing or too much.
func (h *Hasher) Hash(ctx context.Context, plain []byte) (string, error) {
	if err := Check(plain, 1); err != nil {
		return "", err
	}
	if err := h.cores.acquire(ctx, forReconcile); err != nil {
		return "", err
	}
	defer h.cores.release()

	hash, err := h.generate(plain, h.cost)
	if err != nil {
		// Not wrapped: nothing that bcrypt could say is for the caller to
		// tell apart, and its texts may quote their input one day.
		return "", fmt.Errorf("bcrypt cannot hash the password at cost %d", h.cost)
	}
	h.computed.Add(1)
	return string(hash), nil
}

// Matches tells whether hash is one of plain, or a print of it. It is false,
// without any computation and without an error, for what is neither a print nor
// passes [CheckHash] (the empty string and "!" among it) and for passwords that
// are empty, longer than [MaxBytes] bytes or hold a NUL. A print takes no
// computation either. Callers whose time must not tell one refusal from another
// use a [Place].
//
// The only errors are ctx's, when it ends before a core is free.
func (h *Hasher) Matches(ctx context.Context, hash string, plain []byte) (bool, error) {
	switch {
	case checkBytes(plain) != nil:
		return false, nil
	case IsPrint(hash):
		return h.isPrintOf(hash, plain), nil
	case checkHash(hash, h.minCost) != nil:
		return false, nil
	}
	if err := h.cores.acquire(ctx, forReconcile); err != nil {
		return false, err
	}
	defer h.cores.release()

	h.compared.Add(1)
	return h.compare([]byte(hash), plain) == nil, nil
}

// Computed returns how many hashes Hash has produced.
func (h *Hasher) Computed() uint64 { return h.computed.Load() }

// Compared returns how many comparisons have been computed, for reconciles and
// log-ins together; those that were answered without bcrypt do not count.
func (h *Hasher) Compared() uint64 { return h.compared.Load() }
