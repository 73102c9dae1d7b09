// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/memory"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

var alice = user.Owner{Cluster: "c", Namespace: "n", Name: "alice", UID: "uid"}

// inForce is a database in which this hash was applied for alice.
func inForce(hash string) user.Observed {
	return user.Observed{
		Row:       &user.Row{PasswordHash: hash},
		Ownership: &user.Ownership{Owner: alice, State: user.Owned, PasswordHash: hash},
	}
}

func plain(value, version string) Value {
	return Value{Password: user.Password{Managed: true, Version: version}, Text: []byte(value), Format: v1alpha1.PasswordFormatPlain}
}

// newHasher returns a Hasher that remembers nothing.
func newHasher(hasher *password.Hasher) *Hasher { return NewHasher(hasher, nil, memory.New(time.Now)) }

// mustHash hashes a password and checks how many hashes and comparisons that cost.
func mustHash(t *testing.T, h *Hasher, secret Value, o user.Observed, hashes, comparisons uint64) user.PasswordChange {
	t.Helper()
	computed, compared := h.hasher.Computed(), h.hasher.Compared()
	change, err := h.Hash(t.Context(), alice, secret, o)
	if err != nil {
		t.Fatal(err)
	}
	if n := h.hasher.Computed() - computed; n != hashes {
		t.Errorf("%d hashes were computed, want %d", n, hashes)
	}
	if n := h.hasher.Compared() - compared; n != comparisons {
		t.Errorf("%d comparisons were computed, want %d", n, comparisons)
	}
	if change.Version != secret.Version {
		t.Errorf("the version is %q, want %q", change.Version, secret.Version)
	}
	return change
}

func TestPasswordIsHashedWhenAndOnlyWhenItChanged(t *testing.T) {
	hasher := password.NewHasher(password.MinCost, 1)
	h := newHasher(hasher)
	users := memory.New(time.Now)

	first := mustHash(t, h, plain("first password", "1"), user.Observed{}, 1, 0)
	if !first.New || bcrypt.CompareHashAndPassword([]byte(first.Hash), []byte("first password")) != nil {
		t.Errorf("not a new hash of the password: %+v", first)
	}
	// It recognises without bcrypt the passwords that this process hashed.
	same := mustHash(t, h, plain("first password", "2"), inForce(first.Hash), 0, 0)
	if same.New || same.Hash != first.Hash {
		t.Errorf("the same password became another one: %+v", same)
	}
	second := mustHash(t, h, plain("second password", "3"), inForce(first.Hash), 1, 0)
	if !second.New || second.Hash == first.Hash {
		t.Errorf("another password is not new: %+v", second)
	}

	// After a restart the hash in force is compared with, once.
	h = NewHasher(hasher, nil, users)
	again := mustHash(t, h, plain("second password", "4"), inForce(second.Hash), 0, 1)
	if again.New || again.Hash != second.Hash {
		t.Errorf("after a restart the same password became another one: %+v", again)
	}
	mustHash(t, h, plain("second password", "5"), inForce(second.Hash), 0, 0)

	// A hash that the database refused to take, or that a restored backup does not have, is written again, not computed.
	refused := mustHash(t, h, plain("second password", "6"), inForce(first.Hash), 0, 0)
	if !refused.New || refused.Hash != second.Hash {
		t.Errorf("the password that has yet to be written became another one: %+v", refused)
	}
	// Where neither the value nor the hash in force is known, it takes a comparison and a hash.
	mustHash(t, h, plain("third password", "7"), inForce(first.Hash), 1, 1)

	users.Forget(types.UID(alice.UID))
	if users.Len() != 0 {
		t.Error("a resource that is gone is remembered")
	}
}

// A print is what a store in memory was restored with.
func TestPrintInForceIsReplacedByAHashOfTheSamePassword(t *testing.T) {
	hasher := password.NewHasher(password.MinCost, 1)
	printed := hasher.StandIn([]byte("the password"))
	isHashOf := func(hash, plain string) bool {
		return bcrypt.CompareHashAndPassword([]byte(hash), []byte(plain)) == nil
	}

	h := newHasher(hasher)
	same := mustHash(t, h, plain("the password", "1"), inForce(printed), 1, 0)
	if same.New || same.Replaces != printed || !isHashOf(same.Hash, "the password") {
		t.Errorf("the same password is new, or not hashed: %+v", same)
	}
	// Another writer was first, and the plan is made again.
	again := mustHash(t, h, plain("the password", "1"), inForce(printed), 0, 0)
	if again != same {
		t.Errorf("at the second try the same password became another one: %+v", again)
	}
	if later := mustHash(t, h, plain("the password", "2"), inForce(same.Hash), 0, 0); later.New || later.Hash != same.Hash || later.Replaces != "" {
		t.Errorf("later the same password became another one: %+v", later)
	}

	// Another password is new, whatever it is compared with, and is never taken for the one in force.
	other := mustHash(t, newHasher(hasher), plain("another password", "3"), inForce(printed), 1, 0)
	if !other.New || other.Replaces != "" || !isHashOf(other.Hash, "another password") {
		t.Errorf("another password is not new, or not hashed: %+v", other)
	}
	if other := mustHash(t, h, plain("another password", "3"), inForce(printed), 1, 0); !other.New || !isHashOf(other.Hash, "another password") {
		t.Errorf("another password is not new, or not hashed: %+v", other)
	}
	foreign := password.NewHasher(password.MinCost, 1).StandIn([]byte("the password"))
	if change := mustHash(t, newHasher(hasher), plain("the password", "4"), inForce(foreign), 1, 0); !change.New {
		t.Error("the print of another process is taken for one of the password")
	}
}

func TestUnusableHashInForceCostsNoComparison(t *testing.T) {
	h := newHasher(password.NewHasher(password.MinCost, 1))
	change := mustHash(t, h, plain("the first one", "1"), inForce(user.UnusablePassword), 1, 0)
	if !change.New {
		t.Error("the first password is not new")
	}
}

func TestHashIsTakenWithoutBcrypt(t *testing.T) {
	h := newHasher(password.NewHasher(password.MinCost, 1))
	secret := plain("$2b$10$some hash", "1")
	secret.Format = v1alpha1.PasswordFormatBcrypt
	if change := mustHash(t, h, secret, inForce("$2b$10$another hash"), 0, 0); !change.New || change.Hash != "$2b$10$some hash" || change.Weak {
		t.Errorf("the hash was not taken as it is: %+v", change)
	}
	if change := mustHash(t, h, secret, inForce("$2b$10$some hash"), 0, 0); change.New {
		t.Errorf("the same hash is new: %+v", change)
	}
}

func TestWeakPasswordIsCalledSo(t *testing.T) {
	h := newHasher(password.NewHasher(password.MinCost, 1))
	if change := mustHash(t, h, plain("admin123", "1"), user.Observed{}, 1, 0); !change.Weak {
		t.Error("a well-known password is not called weak")
	}
	secret := plain("$2a$10$LtlhX7.r1Rf9Fl7XjR9VKeaZvwU7PJK6tlWF5rXdxe1fg55wurAnW", "1")
	secret.Format = v1alpha1.PasswordFormatBcrypt
	if change := mustHash(t, h, secret, user.Observed{}, 0, 0); !change.Weak {
		t.Error("a well-known hash is not called weak")
	}
}

func TestHashingEndsWithItsContext(t *testing.T) {
	users := memory.New(time.Now)
	h := NewHasher(password.NewHasher(password.MinCost, 1), nil, users)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Hash(ctx, alice, plain("some password", "1"), user.Observed{}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if users.Len() != 0 {
		t.Error("a password that was not taken is remembered")
	}
}
