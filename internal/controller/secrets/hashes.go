// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// hashing turns a Secret's value into what goes into the row, and hashes only what really is another password: a
// Secret gets a new version by a label, or by another of its keys, as well.
//
// What it hashed itself it recognises by a fingerprint under a key that exists in this process only. What it did not
// (after a restart) it compares with the hash in force, which costs as much as hashing, but leaves the row as it is.
//
// Where a print stands for a hash, in a store in memory that was restored, a hash takes its place; the password is the
// same for all that. No print leaves this place: whatever is written, it is a bcrypt hash.
type hashing struct {
	hasher *password.Hasher
	prints *password.Fingerprinter

	mu    sync.Mutex
	known map[types.UID]knownPassword
}

// knownPassword is a hash and the fingerprint of the password that it is of.
type knownPassword struct {
	hash  string
	print password.Fingerprint
}

func newHashing(hasher *password.Hasher) *hashing {
	return &hashing{hasher: hasher, prints: password.NewFingerprinter(), known: map[types.UID]knownPassword{}}
}

// take is what becomes of the owner's password. The only error is that of a context that ended.
func (h *hashing) take(ctx context.Context, owner user.Owner, secret secretValue, o user.Observed) (user.PasswordChange, error) {
	inForce := o.PasswordInForce(owner)
	change := user.PasswordChange{Version: secret.Version, Suspicion: secret.suspicion}
	switch {
	case secret.format == v1alpha1.PasswordFormatBcrypt:
		change.Hash = string(secret.value)
		change.Weak, change.New = user.DefaultHash(change.Hash), change.Hash != inForce
		return change, nil
	case secret.sameText && isApplied(owner, secret.Version, o):
		change.Hash, change.Weak = inForce, password.WellKnown(secret.value) // it is only to be judged
		return change, nil
	}
	hash, same, err := h.hash(ctx, types.UID(owner.UID), inForce, secret.value)
	if err != nil {
		return user.PasswordChange{}, err
	}
	change.Hash, change.Weak, change.New = hash, password.WellKnown(secret.value), !same
	if same && password.IsPrint(inForce) {
		change.Replaces = inForce
	}
	return change, nil
}

// isApplied tells whether the hash that is noted is of this very version of the Secret, so that nothing has to be compared.
func isApplied(owner user.Owner, version string, o user.Observed) bool {
	return o.OwnedBy(owner) && o.Ownership.PasswordHash != "" && o.Ownership.PasswordVersion == version
}

// hash is a hash of the value: the one in force where it is one, or the one that was computed when the same value was
// to be written before and the database refused, or else a new one. Same tells whether what is in force is of this value.
func (h *hashing) hash(ctx context.Context, uid types.UID, inForce string, value []byte) (hash string, same bool, err error) {
	fingerprint := h.prints.Of(value)
	h.mu.Lock()
	known, ok := h.known[uid]
	h.mu.Unlock()
	computed := ok && known.print == fingerprint
	printed := password.IsPrint(inForce)
	switch {
	case computed && !printed:
		return known.hash, known.hash == inForce, nil
	case printed, !ok, known.hash != inForce:
		if same, err = h.hasher.Matches(ctx, inForce, value); err != nil {
			return "", false, err
		}
	}
	switch {
	case computed:
		return known.hash, same, nil
	case same && !printed:
		hash = inForce
	default:
		if hash, err = h.hasher.Hash(ctx, value); err != nil {
			return "", false, err
		}
	}
	h.remember(uid, hash, fingerprint)
	return hash, same, nil
}

func (h *hashing) remember(uid types.UID, hash string, fingerprint password.Fingerprint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known[uid] = knownPassword{hash: hash, print: fingerprint}
}

// forget drops what is known of a resource that is gone.
func (h *hashing) forget(uid types.UID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.known, uid)
}
