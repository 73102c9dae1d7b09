// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// secretReader finds out which password a resource asks for. The cache holds the metadata of Secrets only: their
// version tells whether there is something new, and then the Secret is read from the API server, once.
type secretReader struct {
	cached    client.Reader
	live      client.Reader
	minLength int

	mu       sync.Mutex
	problems map[types.UID]secretProblem // of users, so that who has one does not read the Secret again and again
}

// secretProblem is what was wrong with the Secret at some version, as glance has it.
type secretProblem struct {
	version string
	problem *user.Problem
}

// secretValue is what a Secret has for a user.
type secretValue struct {
	user.Password
	value  []byte
	format v1alpha1.PasswordFormat
}

func newSecretReader(cached, live client.Reader, minLength int) *secretReader {
	return &secretReader{cached: cached, live: live, minLength: minLength, problems: map[types.UID]secretProblem{}}
}

// glance answers which password the resource asks for by what the cache knows: its version, but not whether it is of any
// use. A Secret that the cache does not have is a version too. Terms are those of the policy that permits the resource.
func (s *secretReader) glance(ctx context.Context, u *v1alpha1.ShardingUser, terms user.Terms) (user.Password, error) {
	source := u.Spec.Password
	if source == nil || !u.DeletionTimestamp.IsZero() {
		return user.Password{Managed: source != nil}, nil
	}
	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	err := s.cached.Get(ctx, client.ObjectKey{Namespace: u.Namespace, Name: source.SecretRef.Name}, metadata)
	switch {
	case apierrors.IsNotFound(err):
		return user.Password{Managed: true, Version: "absent/" + source.SecretRef.Name}, nil
	case err != nil:
		return user.Password{}, fmt.Errorf("look up the Secret: %w", err)
	}
	return user.Password{Managed: true, Version: s.version(metadata, source, terms)}, nil
}

// read takes the password from the Secret. Glanced is the version that the cache knows. What people can get wrong is a
// Problem of the password; an error is the API server's.
func (s *secretReader) read(ctx context.Context, u *v1alpha1.ShardingUser, terms user.Terms, glanced string) (secretValue, error) {
	s.mu.Lock()
	known, ok := s.problems[u.UID]
	s.mu.Unlock()
	if ok && known.version == glanced {
		return secretValue{Password: user.Password{Managed: true, Problem: known.problem}}, nil
	}
	found, err := s.readLive(ctx, u, terms)
	if err != nil {
		return found, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if found.Problem != nil {
		s.problems[u.UID] = secretProblem{version: glanced, problem: found.Problem}
	} else {
		delete(s.problems, u.UID)
	}
	return found, nil
}

// forget drops what is known of a resource that is gone.
func (s *secretReader) forget(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.problems, uid)
}

func (s *secretReader) readLive(ctx context.Context, u *v1alpha1.ShardingUser, terms user.Terms) (secretValue, error) {
	source := u.Spec.Password
	key := client.ObjectKey{Namespace: u.Namespace, Name: source.SecretRef.Name}
	found := secretValue{Password: user.Password{Managed: true}, format: source.Format}

	// A cache that does not have the Secret yet is no proof that there is none: ask the API server.
	var secret corev1.Secret
	if err := s.live.Get(ctx, key, &secret); err != nil {
		if !apierrors.IsNotFound(err) {
			return found, fmt.Errorf("read the Secret: %w", err)
		}
		found.Problem = &user.Problem{Reason: v1alpha1.ReasonSecretNotFound, Message: fmt.Sprintf(
			"Secret %q does not exist in namespace %q; create it, and the password is taken from it at once.", key.Name, key.Namespace)}
		return found, nil
	}
	value, ok := secret.Data[source.SecretRef.Key]
	if !ok {
		found.Problem = &user.Problem{Reason: v1alpha1.ReasonSecretKeyNotFound, Message: fmt.Sprintf(
			"Secret %q has no key %q; add it, or name another one in spec.password.secretRef.key.", key.Name, source.SecretRef.Key)}
		return found, nil
	}
	found.value = password.Trim(value)
	if err := s.check(found, terms); err != nil {
		found.value = nil
		found.Problem = &user.Problem{Reason: v1alpha1.ReasonPasswordInvalid, Message: fmt.Sprintf(
			"The value of key %q in Secret %q cannot be used: %v.", source.SecretRef.Key, key.Name, err)}
		return found, nil
	}
	found.Version = s.version(&secret, source, terms)
	return found, nil
}

func (s *secretReader) check(found secretValue, terms user.Terms) error {
	if found.format == v1alpha1.PasswordFormatBcrypt {
		return password.CheckHash(string(found.value))
	}
	return password.Check(found.value, max(s.minLength, terms.MinPasswordLength))
}

// version identifies the value that a user takes from a Secret, and the length that a policy asks of it: where that becomes
// another one, the value is looked at again. Nobody takes it apart again.
func (s *secretReader) version(secret client.Object, source *v1alpha1.PasswordSource, terms user.Terms) string {
	parts := []string{string(secret.GetUID()), secret.GetResourceVersion(), source.SecretRef.Key, string(source.Format)}
	if terms.MinPasswordLength > 0 { // also where the settings ask for more by now: they may have asked for less before
		parts = append(parts, strconv.Itoa(max(s.minLength, terms.MinPasswordLength)))
	}
	return strings.Join(parts, "/")
}
