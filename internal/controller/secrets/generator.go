// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// defaultLength is the length of a generated password, where a resource came past the default of the CRD.
const defaultLength = 24

// generator makes the Secrets of users who have their passwords made, and puts other passwords into them. It changes no Secret
// that it did not make: one whose controller is another object than the very resource, or none. Its errors are the API
// server's.
//
// The Secret comes first and the row after it, by the road of every other Secret. So whoever is cut off in between has nothing
// to remember: next time it is a Secret with a new version.
//
// Whether the operator may write Secrets is a matter of roles, which change while it runs: the API server's answer to the write
// decides, and no setting that could contradict it. A right that is missing is remembered for a while, so that many users that
// wait for it cost few requests.
type generator struct {
	client client.Client
	now    func() time.Time

	mu      sync.Mutex
	lacking map[right]time.Time // rights that are missing, and when that was found out
}

// right is that to one verb on the Secrets of a namespace.
type right struct{ namespace, verb string }

// rightMemory is how long a missing right is remembered.
const rightMemory = 5 * time.Second

func newGenerator(c client.Client, now func() time.Time) *generator {
	return &generator{client: c, now: now, lacking: map[right]time.Time{}}
}

// errLacksRight says that the operator is bound to no role that lets it write Secrets.
var errLacksRight = errors.New("the operator has no right to do that")

// try writes, unless the right to that was missing lately. The error is errLacksRight where it is missing, whatever the API server
// says of a request that is refused for another reason.
func (g *generator) try(ctx context.Context, r right, write func() error) error {
	g.mu.Lock()
	since, isKnown := g.lacking[r]
	if isKnown && g.now().Sub(since) >= rightMemory {
		delete(g.lacking, r)
		isKnown = false
	}
	g.mu.Unlock()
	if isKnown {
		return errLacksRight
	}
	err := write()
	if !apierrors.IsForbidden(err) || g.has(ctx, r) {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lacking[r] = g.now()
	return errLacksRight
}

// has asks the API server for a right: a quota and an admission policy refuse with the same code as RBAC. In doubt it is there.
func (g *generator) has(ctx context.Context, r right) bool {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: r.namespace, Verb: r.verb, Resource: "secrets"},
	}}
	return g.client.Create(ctx, review) != nil || review.Status.Allowed
}

// howToEnable is the end of each sentence about a missing right.
const howToEnable = "turn on config/generated-passwords (Helm: generatedPasswords.enabled=true)"

// missing is the problem of a Secret that the operator could not create.
func missing(key client.ObjectKey, err error) *user.Problem {
	if errors.Is(err, errLacksRight) {
		return &user.Problem{Reason: v1alpha1.ReasonGenerationDisabled, Message: fmt.Sprintf(
			"Secret %q does not exist in namespace %q, and the operator has no right to create Secrets there; %s, or create the Secret.",
			key.Name, key.Namespace, howToEnable)}
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return &user.Problem{Reason: v1alpha1.ReasonSecretNotFound, Message: fmt.Sprintf(
			"Secret %q does not exist, and namespace %q is being deleted: nothing can be created there.", key.Name, key.Namespace)}
	}
	return &user.Problem{Reason: v1alpha1.ReasonSecretNotFound, Message: fmt.Sprintf(
		"Secret %q does not exist in namespace %q, and the API server does not let the operator create it (%s); check quotas and admission "+
			"policies, or create the Secret.", key.Name, key.Namespace, cmp.Or(apierrors.ReasonForError(err), "Denied"))}
}

// notReplaced is why the operator cannot replace a generated password, as a sentence.
func notReplaced(err error) string {
	if errors.Is(err, errLacksRight) {
		return "The operator cannot replace it, since it has no right to patch Secrets there; " + howToEnable + "."
	}
	return fmt.Sprintf("The operator cannot replace it: the API server refuses the change of the Secret (%s).",
		cmp.Or(apierrors.ReasonForError(err), "Denied"))
}

// generate makes the Secret of a user.
func (g *generator) generate(ctx context.Context, u *v1alpha1.ShardingUser, length int) (*corev1.Secret, error) {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: u.Namespace,
			Name:      u.Spec.Password.SecretRef.Name,
			Labels: map[string]string{
				"app.kubernetes.io/component":  "generated-password",
				"app.kubernetes.io/managed-by": "shardinguser-operator",
			},
			// The user's deletion does not wait for the Secret's: that would take a right over finalizers.
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "ShardingUser", Name: u.Name, UID: u.UID, Controller: new(true),
			}},
		},
		Type: corev1.SecretTypeBasicAuth,
		Data: map[string][]byte{
			corev1.BasicAuthUsernameKey: []byte(user.Username(u)),
			corev1.BasicAuthPasswordKey: []byte(password.Random(length)),
		},
	}
	return secret, g.try(ctx, right{u.Namespace, "create"}, func() error { return g.client.Create(ctx, secret) })
}

// renew puts another password into the Secret, unless somebody changed it since it was read.
func (g *generator) renew(ctx context.Context, secret *corev1.Secret, length int) (*corev1.Secret, error) {
	renewed := secret.DeepCopy()
	renewed.Data[corev1.BasicAuthPasswordKey] = []byte(password.Random(length))
	patch := client.MergeFromWithOptions(secret, client.MergeFromWithOptimisticLock{})
	return renewed, g.try(ctx, right{secret.Namespace, "patch"}, func() error { return g.client.Patch(ctx, renewed, patch) })
}

// isGenerated tells whether the Secret is one that was made for the resource.
func isGenerated(secret metav1.Object, u *v1alpha1.ShardingUser) bool {
	return u.Spec.Password.Generate != nil && metav1.IsControlledBy(secret, u)
}

// passwordLength is how long a generated password is.
func (s *secretReader) passwordLength(u *v1alpha1.ShardingUser, terms user.Terms) int {
	length := int(u.Spec.Password.Generate.Length)
	if length == 0 {
		length = defaultLength
	}
	return max(length, s.minLength, terms.MinPasswordLength)
}
