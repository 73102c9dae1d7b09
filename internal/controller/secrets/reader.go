// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// secretReader finds out which password a resource asks for. The cache holds the metadata of Secrets only: their
// version tells whether there is something new, and then the Secret is read from the API server, once.
type secretReader struct {
	cached    client.Reader
	live      client.Reader
	generator *generator // nil where no Secrets are to be made
	minLength int

	mu       sync.Mutex
	problems map[types.UID]secretProblem // of users, so that who has one does not read the Secret again and again
}

// secretProblem is what was wrong with the Secret at some version, as glance has it.
type secretProblem struct {
	version string
	problem *user.Problem
}

// appliedVersion is the version of the password in force, "" where it is of no Secret, and whether that is too old by now.
type appliedVersion struct {
	version string
	expired bool
}

// secretValue is what a Secret has for a user.
type secretValue struct {
	user.Password
	value     []byte // as it is hashed
	format    v1alpha1.PasswordFormat
	suspicion user.Suspicions
	sameText  bool // versions of the operator that judged nothing took the same bytes of the Secret
}

func newSecretReader(cached, live client.Reader, minLength int) *secretReader {
	return &secretReader{cached: cached, live: live, minLength: minLength, problems: map[types.UID]secretProblem{}}
}

// glance answers which password the resource asks for by what the cache knows: its version, but not whether it is of any
// use. A Secret that the cache does not have is a version too. Terms are those of the policy that permits the resource.
func (s *secretReader) glance(ctx context.Context, u *v1alpha1.ShardingUser, terms user.Terms) (user.Password, error) {
	source := u.Spec.Password
	found := user.FromResource("", u).Password
	if source == nil || !u.DeletionTimestamp.IsZero() {
		return found, nil
	}
	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	err := s.cached.Get(ctx, client.ObjectKey{Namespace: u.Namespace, Name: source.SecretRef.Name}, metadata)
	switch {
	case apierrors.IsNotFound(err):
		found.Version = "absent/" + source.SecretRef.Name
		return found, nil
	case err != nil:
		return found, fmt.Errorf("look up the Secret: %w", err)
	}
	found.Version, found.Generated = s.version(metadata, source, terms), isGenerated(metadata, u)
	return found, nil
}

// read takes the password from the Secret. Glanced is the version that the cache knows, and applied is the one in force, which a
// generated password makes way for where it is too old by now. What people can get wrong is a Problem of the password; an error
// is the API server's, or store.ErrConflict where somebody else changed the Secret at this moment.
func (s *secretReader) read(ctx context.Context, u *v1alpha1.ShardingUser, terms user.Terms, glanced string, applied appliedVersion) (secretValue, error) {
	s.mu.Lock()
	known, ok := s.problems[u.UID]
	s.mu.Unlock()
	if ok && known.version == glanced {
		found := secretValue{Password: user.FromResource("", u).Password}
		found.Problem = known.problem
		return found, nil
	}
	found, err := s.readLive(ctx, u, terms, applied)
	if err != nil {
		return found, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if found.Problem != nil && !isRefusedSecret(u, found.Problem) {
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

func (s *secretReader) readLive(ctx context.Context, u *v1alpha1.ShardingUser, terms user.Terms, applied appliedVersion) (secretValue, error) {
	source := u.Spec.Password
	found := secretValue{Password: user.FromResource("", u).Password, format: source.Format}
	secret, problem, err := s.fetch(ctx, u, terms)
	if err != nil || problem != nil {
		found.Problem = problem
		return found, err
	}
	found.Generated = s.generator != nil && isGenerated(secret, u)
	if found.Generated && s.isOutdated(u, secret, terms, applied) {
		renewed, err := s.renew(ctx, u, secret, terms)
		switch {
		case err == nil:
			secret = renewed
		case isRefused(err):
			found.Generated, found.NotReplaced = false, notReplaced(err) // the one in force works on
		default:
			return found, fmt.Errorf("renew the password: %w", withoutText(err))
		}
	}
	if _, ok := secret.Data[source.SecretRef.Key]; !ok {
		found.Problem = user.NoSuchKey(secret.Name, source.SecretRef.Key, slices.Collect(maps.Keys(secret.Data)))
		return found, nil
	}
	judged := s.judge(u, secret, terms)
	if judged.Err != nil {
		found.Problem = &user.Problem{Reason: v1alpha1.ReasonPasswordInvalid, Message: strings.TrimSpace(fmt.Sprintf(
			"The value of key %q in Secret %q cannot be used: %v. %s", source.SecretRef.Key, secret.Name, judged.Err, found.NotReplaced))}
		return found, nil //nolint:nilerr // what people can get wrong is no error
	}
	found.value, found.suspicion = judged.Value, judged.Suspicion
	found.sameText = !bytes.HasSuffix(secret.Data[source.SecretRef.Key], []byte("\r\n"))
	found.Version = s.version(secret, source, terms)
	return found, nil
}

// judge judges what the Secret has for a user.
func (s *secretReader) judge(u *v1alpha1.ShardingUser, secret *corev1.Secret, terms user.Terms) password.Judgement {
	source := u.Spec.Password
	given := password.FromSecret(string(secret.Type), source.SecretRef.Key, secret.Data)
	given.Hashed = source.Format == v1alpha1.PasswordFormatBcrypt
	return given.Judge(user.Username(u), max(s.minLength, terms.MinPasswordLength))
}

// isOutdated tells whether a generated password is the one that was applied, and too old, or too short by what is asked by now.
// What somebody else wrote into the Secret since then is his to answer for.
func (s *secretReader) isOutdated(u *v1alpha1.ShardingUser, secret *corev1.Secret, terms user.Terms, applied appliedVersion) bool {
	if !strings.HasPrefix(applied.version+"/", s.version(secret, u.Spec.Password, user.Terms{})+"/") {
		return false
	}
	return applied.expired || s.judge(u, secret, terms).Err != nil
}

// renew puts another password into the Secret.
func (s *secretReader) renew(ctx context.Context, u *v1alpha1.ShardingUser, secret *corev1.Secret, terms user.Terms) (*corev1.Secret, error) {
	renewed, err := s.generator.renew(ctx, secret, s.passwordLength(u, terms))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		err = store.ErrConflict
	}
	if err != nil {
		return nil, err
	}
	return renewed, nil
}

// isRefused tells whether we are not let do that: by the API server, for want of a right or since the Secret is immutable, or by
// an admission policy or webhook, each of which answers in a way of its own.
func isRefused(err error) bool {
	if errors.Is(err, errLacksRight) {
		return true
	}
	var answer apierrors.APIStatus
	return errors.As(err, &answer) &&
		slices.Contains([]int32{http.StatusBadRequest, http.StatusForbidden, http.StatusUnprocessableEntity}, answer.Status().Code)
}

// fetch is the Secret as the API server has it: a cache that does not have it yet is no proof that there is none. Where there
// is none, and the resource wants it so, it is made.
func (s *secretReader) fetch(ctx context.Context, u *v1alpha1.ShardingUser, terms user.Terms) (*corev1.Secret, *user.Problem, error) {
	key := client.ObjectKey{Namespace: u.Namespace, Name: u.Spec.Password.SecretRef.Name}
	secret := &corev1.Secret{}
	switch err := s.live.Get(ctx, key, secret); {
	case err == nil:
		return secret, nil, nil
	case !apierrors.IsNotFound(err):
		return nil, nil, fmt.Errorf("read the Secret: %w", err)
	case s.generator == nil || u.Spec.Password.Generate == nil:
		return nil, &user.Problem{Reason: v1alpha1.ReasonSecretNotFound, Message: fmt.Sprintf(
			"Secret %q does not exist in namespace %q; create it, and the password is taken from it at once.", key.Name, key.Namespace)}, nil
	}
	secret, err := s.generator.generate(ctx, u, s.passwordLength(u, terms))
	switch {
	case apierrors.IsAlreadyExists(err):
		return nil, nil, fmt.Errorf("make the Secret: %w", store.ErrConflict)
	case isRefused(err):
		return nil, missing(key, err), nil
	case err != nil:
		return nil, nil, fmt.Errorf("make the Secret: %w", withoutText(err))
	}
	return secret, nil, nil
}

// withoutText is an API server's answer to a Secret that we wrote, by its reason alone: a webhook may say what it was sent.
func withoutText(err error) error {
	if reason := apierrors.ReasonForError(err); reason != metav1.StatusReasonUnknown {
		return errors.New(string(reason))
	}
	return err
}

// isRefusedSecret tells whether the problem is a Secret that the API server did not let us make. Nothing tells when it would.
func isRefusedSecret(u *v1alpha1.ShardingUser, p *user.Problem) bool {
	return p != nil && (p.Reason == v1alpha1.ReasonSecretNotFound || p.Reason == v1alpha1.ReasonGenerationDisabled) &&
		u.Spec.Password != nil && u.Spec.Password.Generate != nil
}

// version identifies the value that a user takes from a Secret, and the length that a policy asks of it: where that becomes
// another one, the value is looked at again.
func (s *secretReader) version(secret client.Object, source *v1alpha1.PasswordSource, terms user.Terms) string {
	value := user.SecretValue{
		UID: string(secret.GetUID()), ResourceVersion: secret.GetResourceVersion(), Key: source.SecretRef.Key, Format: string(source.Format),
	}
	if terms.MinPasswordLength > 0 { // also where the settings ask for more by now: they may have asked for less before
		value.MinLength = max(s.minLength, terms.MinPasswordLength)
	}
	return value.Version()
}
