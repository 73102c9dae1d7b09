// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// heldFor is how long a Secret that was read serves the other users of the same version.
	heldFor = 10 * time.Second

	// maxHeld is the number of Secrets that are held at once.
	maxHeld = 4
)

// sharedReads lets many users of one Secret share a read of it: a change of a Secret with a thousand keys causes a thousand
// reconciles. A Secret is held for a few seconds, so that the process keeps no passwords that it does not need.
type sharedReads struct {
	live  client.Reader
	group singleflight.Group

	mu   sync.Mutex
	held map[client.ObjectKey]*corev1.Secret
}

func newSharedReads(live client.Reader) *sharedReads {
	return &sharedReads{live: live, held: map[client.ObjectKey]*corev1.Secret{}}
}

// get returns the Secret in this version, which the cache has, or in a later one. The caller must not change it.
func (r *sharedReads) get(ctx context.Context, key client.ObjectKey, version string) (*corev1.Secret, error) {
	if secret := r.find(key, version); secret != nil {
		return secret, nil
	}
	read, err, _ := r.group.Do(key.String()+"@"+version, func() (any, error) {
		if secret := r.find(key, version); secret != nil { // a read ended since
			return secret, nil
		}
		secret := &corev1.Secret{}
		if err := r.live.Get(context.WithoutCancel(ctx), key, secret); err != nil { // other users wait for it
			return nil, err
		}
		r.hold(key, secret)
		return secret, nil
	})
	if err != nil {
		return nil, err
	}
	return read.(*corev1.Secret), nil //nolint:forcetypeassert // the function above returns nothing else
}

func (r *sharedReads) find(key client.ObjectKey, version string) *corev1.Secret {
	r.mu.Lock()
	defer r.mu.Unlock()
	if secret := r.held[key]; secret != nil && secret.ResourceVersion == version {
		return secret
	}
	return nil
}

// hold holds a Secret if there is room.
func (r *sharedReads) hold(key client.ObjectKey, secret *corev1.Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held[key] == nil && len(r.held) >= maxHeld {
		return
	}
	r.held[key] = secret
	time.AfterFunc(heldFor, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.held[key] == secret {
			delete(r.held, key)
		}
	})
}
