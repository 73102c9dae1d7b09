// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"context"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/memory"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Hasher turns the value of a Secret into the hash of a row. It hashes only a changed password: a Secret also gets a new
// version by a label or by another of its keys.
//
// It recognises values that it hashed itself by a fingerprint, under a key that exists in this process only. After a restart it
// recognises those whose digest is in the ownership record. Other values it compares with the hash in force: that costs as much
// as hashing, but leaves the row unchanged.
//
// In a store in memory that was restored, a stand-in hash may be in force. A bcrypt hash of the same password replaces it.
// Only bcrypt hashes are written.
type Hasher struct {
	hasher       *password.Hasher
	fingerprints *password.Fingerprinter
	digests      *Digests // nil for none
	known        *memory.Slot[knownHash]
}

// knownHash is a hash and the fingerprint of its password.
type knownHash struct {
	hash        string
	fingerprint password.Fingerprint
}

// NewHasher returns a Hasher. Digests may be nil.
func NewHasher(hasher *password.Hasher, digests *Digests, users *memory.Users) *Hasher {
	return &Hasher{
		hasher: hasher, fingerprints: password.NewFingerprinter(), digests: digests, known: memory.NewSlot[knownHash](users, 0),
	}
}

// Hash returns the change of an owner's password. Its errors are those of an ended context, and of reading the key of digests.
func (h *Hasher) Hash(ctx context.Context, owner user.Owner, secret Value, o user.Observed) (user.PasswordChange, error) {
	inForce := o.PasswordInForce(owner)
	change := user.PasswordChange{Version: secret.Version, Suspicion: secret.Suspicion}
	switch {
	case secret.Format == v1alpha1.PasswordFormatBcrypt:
		change.Hash = string(secret.Text)
		change.Weak, change.New = user.DefaultHash(change.Hash), change.Hash != inForce
		return change, nil
	}
	key, err := h.digests.load(ctx)
	if err != nil {
		return user.PasswordChange{}, err
	}
	change.Weak = password.WellKnown(secret.Text)
	if secret.sameText && isApplied(owner, secret.Version, o) {
		change.Hash, change.Digest = inForce, key.digest(inForce, secret.Text) // it only has to be inspected
		return change, nil
	}
	isRecorded := o.OwnedBy(owner) && key.matches(o.Ownership.PasswordDigest, inForce, secret.Text)
	hash, same, err := h.hash(ctx, types.UID(owner.UID), inForce, isRecorded, secret.Text)
	if err != nil {
		return user.PasswordChange{}, err
	}
	change.Hash, change.Digest, change.New = hash, key.digest(hash, secret.Text), !same
	if same && password.IsStandIn(inForce) {
		change.Replaces = inForce
	}
	return change, nil
}

// isApplied reports whether the recorded hash is of this version of the Secret, so that nothing has to be compared.
func isApplied(owner user.Owner, version string, o user.Observed) bool {
	return o.OwnedBy(owner) && o.Ownership.PasswordHash != "" && o.Ownership.PasswordVersion == version
}

// hash returns a hash of the value: the one in force if it matches, one that was computed for the same value and could not
// be written, or a new one. Same reports whether the hash in force is of this value, which isRecorded says without bcrypt.
func (h *Hasher) hash(ctx context.Context, uid types.UID, inForce string, isRecorded bool, value []byte) (hash string, same bool, err error) {
	fingerprint := h.fingerprints.Of(value)
	known, ok := h.known.Get(uid)
	computed := ok && known.fingerprint == fingerprint
	isStandIn := password.IsStandIn(inForce)
	switch {
	case computed && !isStandIn:
		return known.hash, known.hash == inForce, nil
	case isRecorded && !isStandIn:
		same = true
	case isStandIn, !ok, known.hash != inForce:
		if same, err = h.hasher.Matches(ctx, inForce, value); err != nil {
			return "", false, err
		}
	}
	switch {
	case computed:
		return known.hash, same, nil
	case same && !isStandIn:
		hash = inForce
	default:
		if hash, err = h.hasher.Hash(ctx, value); err != nil {
			return "", false, err
		}
	}
	h.known.Put(uid, knownHash{hash: hash, fingerprint: fingerprint})
	return hash, same, nil
}
