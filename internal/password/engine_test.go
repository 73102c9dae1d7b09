// SPDX-License-Identifier: Apache-2.0

package password

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	reference "golang.org/x/crypto/bcrypt"

	"github.com/sharding-system/shardinguser-operator/internal/bcrypt"
	"github.com/sharding-system/shardinguser-operator/internal/fair"
)

// Concurrent computations of every kind get their own results, with either engine.
func TestConcurrentJobsGetTheirOwnResults(t *testing.T) {
	for name, e := range map[string]engine{"interleaved": interleaved(bcrypt.Crypt), "one by one": oneByOne()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := quick(2)
				h.setEngine(e)
				for i := range 30 {
					go hashAndCompare(t, h, i)
				}
				synctest.Wait()
				if h.Computed() != 30 || h.Compared() != 4*30 {
					t.Errorf("%d hashes and %d comparisons, want 30 and 120", h.Computed(), h.Compared())
				}
				if h.cores.free != 2 || h.reserved.Load() != 0 {
					t.Errorf("%d cores are free and %d reservations are held", h.cores.free, h.reserved.Load())
				}
			})
		})
	}
}

// hashAndCompare hashes a password and compares it and another one, as a reconcile and as a login. Every third hash has
// another cost.
func hashAndCompare(t *testing.T, h *Hasher, i int) {
	t.Helper()
	right, wrong := fmt.Appendf(nil, "password %d", i), fmt.Appendf(nil, "password %d", i+1)
	hash, err := h.Hash(t.Context(), right)
	if err != nil || checkHash(hash, h.minCost) != nil {
		t.Errorf("Hash = %s, %v", hash, err)
	}
	if i%3 == 0 {
		dearer, err := reference.GenerateFromPassword(right, h.cost+1)
		if err != nil {
			t.Error(err)
		}
		hash = string(dearer)
	}
	for _, plain := range [][]byte{right, wrong} {
		want := bytes.Equal(plain, right)
		if got, err := h.Matches(t.Context(), hash, plain); got != want || err != nil {
			t.Errorf("a reconcile's %s compared with %s: %v, %v", plain, hash, got, err)
		}
		reservation, err := h.Reserve(fair.Key{})
		if err != nil {
			t.Error(err)
			return
		}
		if got, err := reservation.Matches(t.Context(), hash, plain); got != want || err != nil {
			t.Errorf("a login's %s compared with %s: %v, %v", plain, hash, got, err)
		}
	}
}

// A fault of internal/bcrypt, such as on another processor or by another compiler, is found before the first hash.
func TestTheReferenceComputesIfKnownHashesAreWrong(t *testing.T) {
	faulty := func(jobs []*bcrypt.Job) {
		bcrypt.Crypt(jobs)
		if len(jobs) == bcrypt.Lanes {
			jobs[2].Hash = jobs[0].Hash
		}
	}
	h := newHasher(bcrypt.MinCost, 2, bcrypt.MinCost, func() (engine, error) { return choose(internalBcrypt, faulty) })
	if err := h.Fault(); err == nil || !strings.Contains(err.Error(), "wrong") {
		t.Errorf("Fault = %v", err)
	}
	if h.cores.lanes != 1 {
		t.Errorf("%d hashes at once, want one", h.cores.lanes)
	}
	hash, err := h.Hash(t.Context(), []byte("secret"))
	if err != nil || reference.CompareHashAndPassword([]byte(hash), []byte("secret")) != nil {
		t.Errorf("Hash = %s, %v", hash, err)
	}
	if ok, err := h.Matches(t.Context(), hash, []byte("secret")); !ok || err != nil {
		t.Errorf("Matches = %v, %v", ok, err)
	}
	if err := quick(1).Fault(); err != nil {
		t.Errorf("internal/bcrypt: %v", err)
	}
}

// Both values of the setting give hashes that the other one matches, and the same results of comparisons.
func TestBothImplementationsHashAndCompareAlike(t *testing.T) {
	hashers := map[string]*Hasher{}
	for _, name := range []string{internalBcrypt, referenceBcrypt} {
		h := newHasher(bcrypt.MinCost, 2, bcrypt.MinCost, func() (engine, error) { return choose(name, bcrypt.Crypt) })
		if err := h.Fault(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		hashers[name] = h
	}
	if a, b := hashers[internalBcrypt].cores.lanes, hashers[referenceBcrypt].cores.lanes; a != bcrypt.Lanes || b != 1 {
		t.Fatalf("%d and %d lanes, want %d and 1", a, b, bcrypt.Lanes)
	}
	for _, plain := range []string{"secret", "p\u00e4ssw\u00f6rd", strings.Repeat("x", MaxBytes)} {
		for maker, h := range hashers {
			hash, err := h.Hash(t.Context(), []byte(plain))
			if err != nil || checkHash(hash, bcrypt.MinCost) != nil {
				t.Fatalf("%s: Hash = %s, %v", maker, hash, err)
			}
			for name, comparer := range hashers {
				right, errRight := comparer.Matches(t.Context(), hash, []byte(plain))
				wrong, errWrong := comparer.Matches(t.Context(), hash, []byte(plain[1:]))
				if !right || wrong || errRight != nil || errWrong != nil {
					t.Errorf("%s compared with a hash of %s: %v, %v and %v, %v", name, maker, right, errRight, wrong, errWrong)
				}
			}
		}
	}
}

// The linker ignores a name that does not exist, so the documented one has to be right.
func TestTheDocumentedSettingExists(t *testing.T) {
	want := reflect.TypeFor[Hasher]().PkgPath() + ".implementation=" + referenceBcrypt
	text, err := os.ReadFile(filepath.Join("..", "bcrypt", "doc.go"))
	if err != nil || !strings.Contains(string(text), `-ldflags "-X `+want+`"`) {
		t.Errorf("doc.go of internal/bcrypt does not name %s: %v", want, err)
	}
	defer func() {
		if recover() == nil {
			t.Error("an unknown implementation does not panic")
		}
	}()
	_, _ = choose("none", bcrypt.Crypt)
}
