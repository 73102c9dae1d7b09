// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/memory"
	"github.com/sharding-system/shardinguser-operator/internal/controller/secrets"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

var ofAlice = user.Owner{Cluster: clusterID, Namespace: "n", Name: "alice", UID: "1"}

// taken is what a process that remembers nothing makes of a password. O is what is in force.
func (s *story) taken(digests *secrets.Digests, plain string, o user.Observed) (user.PasswordChange, *password.Hasher) {
	s.t.Helper()
	hasher := password.NewTestHasher(1)
	value := secrets.Value{Password: user.Password{Version: "uid/2/password/Plain"}, Text: []byte(plain), Format: v1alpha1.PasswordFormatPlain}
	change, err := secrets.NewHasher(hasher, digests, memory.New(time.Now)).Hash(s.t.Context(), ofAlice, value, o)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	return change, hasher
}

func applied(p user.PasswordChange) user.Observed {
	return user.Observed{
		Row: &user.Row{PasswordHash: p.Hash, Active: true},
		Ownership: &user.Ownership{
			Owner: ofAlice, State: user.Owned, PasswordVersion: "uid/1/password/Plain", PasswordHash: p.Hash, PasswordDigest: p.Digest,
		},
	}
}

// newDigests are those of a process that has just started.
func (s *story) newDigests() *secrets.Digests { s.t.Helper(); return s.digests(s.kube, s.kube) }

func TestDigestRecognisesAPasswordAfterARestart(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.digestKey = "digest-key"
	key := s.secret(s.digestKey)

	first, _ := s.taken(s.newDigests(), canary+" first", user.Observed{})
	s.Expect(first.New).To(gomega.BeTrue())
	s.Expect(first.Digest).NotTo(gomega.BeEmpty())
	s.Expect(s.kube.Get(t.Context(), client.ObjectKeyFromObject(key), key)).To(gomega.Succeed())
	s.Expect(key.Data[secrets.DigestKeyEntry]).To(gomega.HaveLen(32))

	same, hasher := s.taken(s.newDigests(), canary+" first", applied(first))
	s.Expect(same.New).To(gomega.BeFalse())
	s.Expect(same.Hash).To(gomega.Equal(first.Hash))
	s.Expect(same.Digest).To(gomega.Equal(first.Digest))
	s.Expect(hasher.Computed() + hasher.Compared()).To(gomega.BeZero())

	another, hasher := s.taken(s.newDigests(), canary+" another", applied(first))
	s.Expect(another.New).To(gomega.BeTrue())
	s.Expect(hasher.Computed()).To(gomega.BeEquivalentTo(1))

	// The same password under another salt has another digest.
	again, _ := s.taken(s.newDigests(), canary+" first", user.Observed{})
	s.Expect(again.Digest).NotTo(gomega.Equal(first.Digest))

	// An older version of the operator writes another hash, and leaves the digest.
	older := another
	older.Digest = first.Digest
	back, hasher := s.taken(s.newDigests(), canary+" first", applied(older))
	s.Expect(back.New).To(gomega.BeTrue(), "the row has another password")
	s.Expect(hasher.Compared()).To(gomega.BeEquivalentTo(1))
	compared, _ := s.taken(s.newDigests(), canary+" another", applied(older))
	s.Expect(compared.New).To(gomega.BeFalse())
	s.Expect(compared.Digest).To(gomega.Equal(another.Digest), "a comparison is the last one")

	// The key is lost.
	s.remove(key)
	s.secret(s.digestKey)
	same, hasher = s.taken(s.newDigests(), canary+" first", applied(first))
	s.Expect(same.New).To(gomega.BeFalse())
	s.Expect(same.Hash).To(gomega.Equal(first.Hash))
	s.Expect(hasher.Compared()).To(gomega.BeEquivalentTo(1), "as without a digest")
	s.Expect(same.Digest).NotTo(gomega.Or(gomega.Equal(first.Digest), gomega.BeEmpty()))
}

// withoutRight is a client whose requests of one verb are forbidden.
func withoutRight(c client.Client, verb string) client.Client {
	forbidden := func(name string) error {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, name, nil)
	}
	withWatch, ok := c.(client.WithWatch)
	if !ok {
		panic("the client cannot watch")
	}
	return interceptor.NewClient(withWatch, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if verb == "get" {
				return forbidden(key.Name)
			}
			return c.Get(ctx, key, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if verb == "patch" {
				return forbidden(o.GetName())
			}
			return c.Patch(ctx, o, p, opts...)
		},
	})
}

func TestWithoutAKeyPasswordsAreCompared(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	withWatch, err := client.NewWithWatch(testenv.APIServer(t), client.Options{Scheme: scheme})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	before, _ := s.taken(nil, canary+" password", user.Observed{})
	s.Expect(before.Digest).To(gomega.BeEmpty())

	for name, tt := range map[string]struct {
		secret *corev1.Secret
		kube   client.Client
	}{
		"missing":       {nil, s.kube},
		"too-short":     {&corev1.Secret{Data: map[string][]byte{secrets.DigestKeyEntry: []byte("31 bytes are one byte too few !")}}, s.kube},
		"immutable":     {&corev1.Secret{Immutable: new(true)}, s.kube},
		"not-readable":  {&corev1.Secret{}, withoutRight(withWatch, "get")},
		"not-patchable": {&corev1.Secret{}, withoutRight(withWatch, "patch")},
	} {
		if tt.secret != nil {
			tt.secret.Namespace, tt.secret.Name = s.namespace, name
			s.Expect(s.kube.Create(t.Context(), tt.secret)).To(gomega.Succeed())
		}
		s.digestKey = name
		same, hasher := s.taken(s.digests(tt.kube, tt.kube), canary+" password", applied(before))
		s.Expect(same.New).To(gomega.BeFalse(), name)
		s.Expect(same.Digest).To(gomega.BeEmpty(), name)
		s.Expect(hasher.Compared()).To(gomega.BeEquivalentTo(1), name)
	}
}

// Two leaders may overlap.
func TestDigestKeyIsWrittenOnce(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.digestKey = "digest-key"
	s.secret(s.digestKey)
	before, _ := s.taken(nil, canary+" password", user.Observed{})
	digests := make(chan string)
	for range 4 {
		go func() {
			value := secrets.Value{Text: []byte(canary + " password"), Format: v1alpha1.PasswordFormatPlain}
			change, err := secrets.NewHasher(password.NewTestHasher(1), s.digests(s.kube, s.kube), memory.New(time.Now)).
				Hash(t.Context(), ofAlice, value, applied(before))
			if err != nil {
				t.Error(err)
			}
			digests <- change.Digest
		}()
	}
	first := <-digests
	s.Expect(first).NotTo(gomega.BeEmpty())
	for range 3 {
		s.Expect(<-digests).To(gomega.Equal(first))
	}
}
