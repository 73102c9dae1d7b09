// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
}

// secretValue is what a Secret has for a user. Its value is there only where the version is another one than the
// applied one.
type secretValue struct {
	user.Password
	value  []byte
	format v1alpha1.PasswordFormat
}

// read answers which password the resource asks for. Applied is the version that is in the row already. What people can
// get wrong is a Problem of the password; an error is the API server's.
func (s *secretReader) read(ctx context.Context, u *v1alpha1.ShardingUser, applied string) (secretValue, error) {
	source := u.Spec.Password
	if source == nil || !u.DeletionTimestamp.IsZero() {
		return secretValue{Password: user.Password{Managed: source != nil}}, nil
	}
	key := client.ObjectKey{Namespace: u.Namespace, Name: source.SecretRef.Name}
	found := secretValue{Password: user.Password{Managed: true}, format: source.Format}

	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	err := s.cached.Get(ctx, key, metadata)
	if err == nil && version(metadata, source) == applied {
		found.Version = applied
		return found, nil
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return found, fmt.Errorf("look up the Secret: %w", err)
	}

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
	if err := s.check(found); err != nil {
		found.value = nil
		found.Problem = &user.Problem{Reason: v1alpha1.ReasonPasswordInvalid, Message: fmt.Sprintf(
			"The value of key %q in Secret %q cannot be used: %v.", source.SecretRef.Key, key.Name, err)}
		return found, nil
	}
	found.Version = version(&secret, source)
	return found, nil
}

func (s *secretReader) check(found secretValue) error {
	if found.format == v1alpha1.PasswordFormatBcrypt {
		return password.CheckHash(string(found.value))
	}
	return password.Check(found.value, s.minLength)
}

// version identifies the value that a user takes from a Secret. Nobody takes it apart again.
func version(secret client.Object, source *v1alpha1.PasswordSource) string {
	return strings.Join([]string{
		string(secret.GetUID()), secret.GetResourceVersion(), source.SecretRef.Key, string(source.Format),
	}, "/")
}
