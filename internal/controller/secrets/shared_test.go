// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/memory"
	"github.com/sharding-system/shardinguser-operator/internal/password"
)

// reading is an API server that answers each GET of a Secret like this.
type reading struct {
	client.Reader
	get func(ctx context.Context, key client.ObjectKey, secret *corev1.Secret) error
}

func (r reading) Get(ctx context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	secret, ok := object.(*corev1.Secret)
	if !ok {
		return errors.New("not a Secret")
	}
	return r.get(ctx, key, secret)
}

func TestASharedReadServesOneVersionOfOneSecret(t *testing.T) {
	t.Parallel()
	version, reads := "1", 0
	shared := newSharedReads(reading{get: func(_ context.Context, key client.ObjectKey, secret *corev1.Secret) error {
		reads++
		secret.Namespace, secret.Name, secret.ResourceVersion = key.Namespace, key.Name, version
		return nil
	}})
	expect := func(namespace, asked, want string, wantReads int) {
		t.Helper()
		secret, err := shared.get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "team"}, asked)
		if err != nil || secret.Namespace != namespace || secret.ResourceVersion != want || reads != wantReads {
			t.Errorf("got %v of %d reads, %v", secret, reads, err)
		}
	}
	expect("a", "1", "1", 1)
	expect("a", "1", "1", 1)
	expect("b", "1", "1", 2)
	version = "3"
	expect("a", "2", "3", 3) // the cache is behind
	expect("a", "3", "3", 3)
	expect("a", "1", "3", 4) // the cache is further behind: never an older value than the last
}

func TestAReconcileDoesNotOutliveItsContextInASharedRead(t *testing.T) {
	t.Parallel()
	release, began := make(chan struct{}), make(chan struct{})
	defer close(release)
	shared := newSharedReads(reading{get: func(context.Context, client.ObjectKey, *corev1.Secret) error {
		close(began)
		<-release // an API server that does not answer
		return nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := shared.get(ctx, client.ObjectKey{Namespace: "a", Name: "team"}, "1")
		ended <- err
	}()
	<-began
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for the API server after its context ended")
	}
}

// A Secret that the API server cannot decrypt, for example, is no reason to apply no password any more.
func TestPasswordsDoNotWaitForAKeyThatCannotBeRead(t *testing.T) {
	t.Parallel()
	now := time.Now()
	failure := apierrors.NewInternalError(errors.New("unable to decrypt"))
	digests := NewDigests(reading{get: func(_ context.Context, _ client.ObjectKey, secret *corev1.Secret) error {
		if failure != nil {
			return failure
		}
		secret.Data = map[string][]byte{DigestKeyEntry: make([]byte, digestKeySize)}
		return nil
	}}, nil, client.ObjectKey{Namespace: "operator", Name: "key"}, func() time.Time { return now })
	h := NewHasher(password.NewHasher(password.MinCost, 1), digests, memory.New(func() time.Time { return now }))
	secret := Value{Text: []byte("a password"), Format: v1alpha1.PasswordFormatPlain}

	if _, err := h.Hash(t.Context(), alice, secret, inForce("")); err == nil {
		t.Error("a failure that a retry may not have costs comparisons")
	}
	now = now.Add(digestKeyRetry)
	change, err := h.Hash(t.Context(), alice, secret, inForce(""))
	if err != nil || change.Hash == "" || change.Digest != "" || digests.Active() {
		t.Errorf("after a minute without the key: %+v, %v", change, err)
	}
	failure, now = nil, now.Add(digestKeyRetry)
	change, err = h.Hash(t.Context(), alice, secret, inForce(""))
	if err != nil || change.Digest == "" || !digests.Active() {
		t.Errorf("with the key: %+v, %v", change, err)
	}
}
