// SPDX-License-Identifier: Apache-2.0

// Package secrets reads, generates and hashes the passwords that Secrets hold. The cache has only the metadata of Secrets;
// a Secret is read from the API server when its version is new.
package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/memory"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Reader finds the password that a resource asks for.
type Reader struct {
	cached    client.Reader
	live      client.Reader
	shared    *sharedReads
	generator *Generator // nil where Secrets are not generated
	minLength int
	problems  *memory.Slot[knownProblem]
}

// knownProblem is what was wrong with a version of a Secret, as Peek returns it. It saves reading the Secret again.
type knownProblem struct {
	version string
	problem *user.Problem
}

// Applied is the version of the password in force, "" if it came from no Secret, and whether it has expired.
type Applied struct {
	Version string
	Expired bool
}

// Value is what a Secret holds for a user.
type Value struct {
	user.Password
	Text      []byte // as it is hashed; a hash where the format is Bcrypt
	Format    v1alpha1.PasswordFormat
	Suspicion user.Suspicions
	sameText  bool // earlier versions of the operator, which inspected nothing, took the same bytes of the Secret
}

// NewReader returns a Reader. It reads metadata from cached and Secrets from live. Generator is nil where no Secrets are to
// be generated. MinLength is the least number of characters of a password.
func NewReader(cached, live client.Reader, generator *Generator, minLength int, users *memory.Users) *Reader {
	return &Reader{
		cached: cached, live: live, shared: newSharedReads(live), generator: generator, minLength: minLength, problems: memory.NewSlot[knownProblem](users, 0),
	}
}

// Peek returns the password that a resource asks for, as far as the cache knows it: the version of the Secret, but not
// whether its value is usable. A missing Secret is a version too. D is what the resource asks for, on the terms of the
// policy that permits it.
func (s *Reader) Peek(ctx context.Context, u *v1alpha1.ShardingUser, d user.Desired) (user.Password, error) {
	source, found := u.Spec.Password, asked(d)
	if source == nil || d.Deleting {
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
	found.Version, found.Generated = s.version(metadata, source, d.Permission.Terms), isGenerated(metadata, u)
	return found, nil
}

// asked returns the password as a resource asks for it, of which no Secret is known yet.
func asked(d user.Desired) user.Password {
	return user.Password{Managed: d.Password.Managed, MaxAge: d.Password.MaxAge}
}

// Read takes the password from the Secret. D is as for Peek, with the password that Peek returned. Applied is the password
// in force: a generated one is replaced when it has expired. A mistake of people is a Problem of the password. An
// error is the API server's, or store.ErrConflict if another writer changed the Secret meanwhile.
func (s *Reader) Read(ctx context.Context, u *v1alpha1.ShardingUser, d user.Desired, applied Applied) (Value, error) {
	peeked := d.Password.Version
	if known, ok := s.problems.Get(u.UID); ok && known.version == peeked {
		found := Value{Password: asked(d)}
		found.Problem = known.problem
		return found, nil
	}
	found, err := s.readUncached(ctx, u, d, applied)
	if err != nil {
		return found, err
	}
	if found.Problem != nil && !IsGenerationRefused(u, found.Problem) {
		s.problems.Put(u.UID, knownProblem{version: peeked, problem: found.Problem})
	} else {
		s.problems.Drop(u.UID)
	}
	return found, nil
}

func (s *Reader) readUncached(ctx context.Context, u *v1alpha1.ShardingUser, d user.Desired, applied Applied) (Value, error) {
	source := u.Spec.Password
	found := Value{Password: asked(d), Format: source.Format}
	secret, problem, err := s.fetch(ctx, u, d)
	if err != nil || problem != nil {
		found.Problem = problem
		return found, err
	}
	found.Generated = s.generator != nil && isGenerated(secret, u)
	if found.Generated && s.isOutdated(u, secret, d, applied) {
		renewed, err := s.renew(ctx, u, secret, d)
		switch {
		case err == nil:
			secret = renewed
		case isRefused(err):
			found.Generated, found.NotReplaced = false, notReplaced(err) // the one in force keeps working
		default:
			return found, fmt.Errorf("renew the password: %w", withoutText(err))
		}
	}
	if _, ok := secret.Data[source.SecretRef.Key]; !ok {
		found.Problem = user.NoSuchKey(secret.Name, source.SecretRef.Key, slices.Collect(maps.Keys(secret.Data)))
		return found, nil
	}
	inspected := s.inspect(u, secret, d)
	if inspected.Err != nil {
		found.Problem = &user.Problem{Reason: v1alpha1.ReasonPasswordInvalid, Message: strings.TrimSpace(fmt.Sprintf(
			"The value of key %q in Secret %q cannot be used: %v. %s", source.SecretRef.Key, secret.Name, inspected.Err, found.NotReplaced))}
		return found, nil //nolint:nilerr // what people can get wrong is no error
	}
	found.Text, found.Suspicion = inspected.Value, inspected.Suspicion
	found.sameText = !bytes.HasSuffix(secret.Data[source.SecretRef.Key], []byte("\r\n"))
	found.Version = s.version(secret, source, d.Permission.Terms)
	return found, nil
}

// inspect inspects the value that the Secret holds for a user.
func (s *Reader) inspect(u *v1alpha1.ShardingUser, secret *corev1.Secret, d user.Desired) password.Inspection {
	source := u.Spec.Password
	given := password.FromSecret(string(secret.Type), source.SecretRef.Key, secret.Data)
	given.Hashed = source.Format == v1alpha1.PasswordFormatBcrypt
	return given.Inspect(d.Username, max(s.minLength, d.Permission.Terms.MinPasswordLength))
}

// isOutdated reports whether a generated password is the applied one, and has expired or is too short by now. A value that
// another writer put into the Secret since then is not replaced.
func (s *Reader) isOutdated(u *v1alpha1.ShardingUser, secret *corev1.Secret, d user.Desired, applied Applied) bool {
	if !strings.HasPrefix(applied.Version+"/", s.version(secret, u.Spec.Password, user.Terms{})+"/") {
		return false
	}
	return applied.Expired || s.inspect(u, secret, d).Err != nil
}

// renew replaces the password in the Secret.
func (s *Reader) renew(ctx context.Context, u *v1alpha1.ShardingUser, secret *corev1.Secret, d user.Desired) (*corev1.Secret, error) {
	renewed, err := s.generator.renew(ctx, secret, s.passwordLength(u, d.Permission.Terms))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		err = store.ErrConflict
	}
	if err != nil {
		return nil, err
	}
	return renewed, nil
}

// isRefused reports whether the API server refused a write: for want of a right, because the Secret is immutable, or by an
// admission policy or webhook. Each answers with a different code.
func isRefused(err error) bool {
	if errors.Is(err, errLacksRight) {
		return true
	}
	var answer apierrors.APIStatus
	return errors.As(err, &answer) &&
		slices.Contains([]int32{http.StatusBadRequest, http.StatusForbidden, http.StatusUnprocessableEntity}, answer.Status().Code)
}

// fetch returns the Secret as the API server has it, since the cache may be behind. A missing Secret is generated if the
// resource asks for that.
func (s *Reader) fetch(ctx context.Context, u *v1alpha1.ShardingUser, d user.Desired) (*corev1.Secret, *user.Problem, error) {
	key := client.ObjectKey{Namespace: u.Namespace, Name: u.Spec.Password.SecretRef.Name}
	secret, err := s.get(ctx, u, key, d.Password.Version)
	switch {
	case err == nil:
		return secret, nil, nil
	case !apierrors.IsNotFound(err):
		return nil, nil, fmt.Errorf("read the Secret: %w", err)
	case s.generator == nil || u.Spec.Password.Generate == nil:
		return nil, &user.Problem{Reason: v1alpha1.ReasonSecretNotFound, Message: fmt.Sprintf(
			"Secret %q does not exist in namespace %q; create it, and the password is taken from it at once.", key.Name, key.Namespace)}, nil
	}
	secret, err = s.generator.generate(ctx, u, d.Username, s.passwordLength(u, d.Permission.Terms))
	switch {
	case apierrors.IsAlreadyExists(err):
		return nil, nil, fmt.Errorf("create the Secret: %w", store.ErrConflict)
	case isRefused(err):
		return nil, missing(key, err), nil
	case err != nil:
		return nil, nil, fmt.Errorf("create the Secret: %w", withoutText(err))
	}
	return secret, nil, nil
}

// get reads a Secret whose peeked version is given. Users of one Secret share a read, except for a generated one: its user
// may replace it.
func (s *Reader) get(ctx context.Context, u *v1alpha1.ShardingUser, key client.ObjectKey, peeked string) (*corev1.Secret, error) {
	if version := user.SecretResourceVersion(peeked); version != "" && u.Spec.Password.Generate == nil {
		return s.shared.get(ctx, key, version)
	}
	secret := &corev1.Secret{}
	return secret, s.live.Get(ctx, key, secret)
}

// withoutText reduces an API server's answer to a written Secret to its reason: a webhook may quote what it was sent.
func withoutText(err error) error {
	if reason := apierrors.ReasonForError(err); reason != metav1.StatusReasonUnknown {
		return errors.New(string(reason))
	}
	return err
}

// IsGenerationRefused reports whether the problem is a Secret that the API server did not let the operator create. No event
// says when it would, so the user has to be retried.
func IsGenerationRefused(u *v1alpha1.ShardingUser, p *user.Problem) bool {
	return p != nil && (p.Reason == v1alpha1.ReasonSecretNotFound || p.Reason == v1alpha1.ReasonGenerationDisabled) &&
		u.Spec.Password != nil && u.Spec.Password.Generate != nil
}

// version identifies the value that a user takes from a Secret, and the length that a policy asks of it. If either changes,
// the value is inspected again.
func (s *Reader) version(secret client.Object, source *v1alpha1.PasswordSource, terms user.Terms) string {
	value := user.SecretValue{
		UID: string(secret.GetUID()), ResourceVersion: secret.GetResourceVersion(), Key: source.SecretRef.Key, Format: string(source.Format),
	}
	if terms.MinPasswordLength > 0 { // even if the setting asks for more: it may have asked for less before
		value.MinLength = max(s.minLength, terms.MinPasswordLength)
	}
	return value.Version()
}
