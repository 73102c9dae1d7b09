// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sharding-system/shardinguser-operator/internal/backoff"
)

// +kubebuilder:rbac:groups="",namespace=system,resources=secrets,resourceNames=shardinguser-digest-key,verbs=get;patch

const (
	// DigestKeyEntry is the key of the Secret under which the key of the digests is stored.
	DigestKeyEntry = "key"

	digestKeySize = 32

	// digestKeyRetry is the time until a Secret without a usable key is read again.
	digestKeyRetry = time.Minute
)

// Digests makes and recognises the digests of passwords that ownership records hold. A digest is an HMAC under a key in a Secret
// of the manager's namespace, which the readers of the database do not have: without it, a digest tests no guess.
//
// A digest is about a hash and the password that it was computed from. So equal passwords have different digests, and a
// digest that an older version of the operator left beside another hash matches nothing.
//
// The Secret is part of the installation, without a key. The first leader that finds it empty writes a random key. That takes
// a right on this one Secret, and none to create Secrets. Without a key, there are no digests, and passwords are compared by
// bcrypt.
type Digests struct {
	reader client.Reader
	writer client.Writer
	secret client.ObjectKey
	now    func() time.Time

	isActive atomic.Bool // there is a key

	mu      sync.Mutex
	key     []byte // nil until it was read
	readAt  time.Time
	problem string    // why there is no key
	failing time.Time // since when the Secret cannot be read; zero if the last reading did not fail
}

// NewDigests returns the Digests under the key in this Secret. It reads the Secret from the API server.
func NewDigests(reader client.Reader, writer client.Writer, secret client.ObjectKey, now func() time.Time) *Digests {
	return &Digests{reader: reader, writer: writer, secret: secret, now: now}
}

// Active reports whether there is a key.
func (d *Digests) Active() bool {
	return d != nil && d.isActive.Load() // a reading may take long
}

// Start reads the key, and tries again until there is one. It runs on the leader.
func (d *Digests) Start(ctx context.Context) error {
	for {
		key, err := d.load(ctx)
		if err != nil && ctx.Err() == nil {
			logf.FromContext(ctx).Info("Cannot read the key of the password digests yet", "secret", d.secret.String(), "reason", err.Error())
		}
		if key != nil || !backoff.Pause(ctx, digestKeyRetry) {
			return nil
		}
	}
}

// load reads the key once. Its error is one that a retry may not have; a missing or unusable Secret is none. Nor is one that the
// API server cannot read for a while: passwords do not wait for it.
func (d *Digests) load(ctx context.Context) (digestKey, error) {
	if d == nil {
		return nil, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.key != nil || d.problem != "" && d.now().Sub(d.readAt) < digestKeyRetry {
		return d.key, nil
	}
	key, problem, err := d.read(ctx)
	switch {
	case err == nil:
		d.failing = time.Time{}
	case ctx.Err() != nil:
		return nil, fmt.Errorf("read the key of the password digests: %w", err)
	case d.failing.IsZero():
		d.failing = d.now()
		fallthrough
	case d.now().Sub(d.failing) < digestKeyRetry:
		return nil, fmt.Errorf("read the key of the password digests: %w", err)
	default:
		problem = fmt.Sprintf("the Secret cannot be read: %v", err)
	}
	if problem != "" && problem != d.problem {
		logf.FromContext(ctx).Info("Passwords are compared by bcrypt after a restart, because there is no key for digests",
			"secret", d.secret.String(), "reason", problem)
	}
	d.key, d.problem, d.readAt = key, problem, d.now()
	d.isActive.Store(key != nil)
	return d.key, nil
}

// read returns the key in the Secret, and writes one if it is empty. Problem says why there is none.
func (d *Digests) read(ctx context.Context) (key []byte, problem string, err error) {
	for {
		secret := &corev1.Secret{}
		err := d.reader.Get(ctx, d.secret, secret)
		switch {
		case apierrors.IsNotFound(err):
			return nil, "the Secret does not exist; create it, empty", nil
		case apierrors.IsForbidden(err):
			return nil, "the operator may not read the Secret; grant it the verb get", nil
		case err != nil:
			return nil, "", err
		}
		if key := secret.Data[DigestKeyEntry]; len(key) >= digestKeySize {
			return key, "", nil
		} else if len(key) > 0 {
			return nil, fmt.Sprintf("the key has fewer than %d bytes; delete it, and the operator writes another one", digestKeySize), nil
		}
		key, err := d.write(ctx, secret)
		switch {
		case apierrors.IsConflict(err): // another writer was first
			continue
		case isRefused(err):
			return nil, "the Secret is empty, and the operator may not patch it; grant it the verb patch, or write a key of 32 random bytes", nil
		case err != nil:
			return nil, "", withoutText(err)
		}
		return key, "", nil
	}
}

// write writes a random key into the Secret, unless it was changed since it was read.
func (d *Digests) write(ctx context.Context, secret *corev1.Secret) ([]byte, error) {
	key := make([]byte, digestKeySize)
	_, _ = rand.Read(key) // never fails
	written := secret.DeepCopy()
	if written.Data == nil {
		written.Data = map[string][]byte{}
	}
	written.Data[DigestKeyEntry] = key
	patch := client.MergeFromWithOptions(secret, client.MergeFromWithOptimisticLock{})
	return key, d.writer.Patch(ctx, written, patch)
}

// digestKey is the key of digests; nil if there is none.
type digestKey []byte

// digest returns the digest of a hash and its password; "" without a key.
func (k digestKey) digest(hash string, password []byte) string {
	if k == nil || hash == "" {
		return ""
	}
	mac := hmac.New(sha256.New, k)
	mac.Write([]byte(hash + "\x00")) // no hash contains a NUL
	mac.Write(password)
	return base64.RawStdEncoding.EncodeToString(mac.Sum(nil))
}

// matches reports whether a digest is that of this hash and this password.
func (k digestKey) matches(digest, hash string, password []byte) bool {
	return digest != "" && k != nil && hmac.Equal([]byte(digest), []byte(k.digest(hash, password)))
}
