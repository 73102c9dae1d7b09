// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/memory"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// defaultLength is the length of a generated password where a resource has not got the CRD's default.
const defaultLength = 24

// Generator creates the Secrets of users with generated passwords, and replaces these passwords. It changes only Secrets
// that it created: their controller is this very resource. Its errors are the API server's.
//
// It writes the Secret first, and the row follows as with every other Secret. So nothing has to be remembered if the process
// is killed in between: at the next reconcile the Secret has a new version.
//
// Roles decide whether the operator may write Secrets, and they change while it runs. So the API server's answer decides,
// and there is no setting that could contradict it. A missing right is remembered for a while, so that many users that wait
// for it cost few requests.
type Generator struct {
	client  client.Client
	lacking *memory.Map[right, struct{}] // missing rights
}

// right is a verb on the Secrets of a namespace.
type right struct{ namespace, verb string }

// rightMemory is how long a missing right is remembered.
const rightMemory = 5 * time.Second

// NewGenerator returns a Generator.
func NewGenerator(c client.Client, now func() time.Time) *Generator {
	return &Generator{client: c, lacking: memory.NewMap[right, struct{}](now, rightMemory)}
}

// errLacksRight reports that no role lets the operator write Secrets.
var errLacksRight = errors.New("the operator has no right to do that")

// try writes, unless the right was missing a moment ago. The error is errLacksRight only if the right is missing, and not if
// the API server refuses the request for another reason.
func (g *Generator) try(ctx context.Context, r right, write func() error) error {
	if _, isLacking := g.lacking.Get(r); isLacking {
		return errLacksRight
	}
	err := write()
	if !apierrors.IsForbidden(err) || g.has(ctx, r) {
		return err
	}
	g.lacking.Put(r, struct{}{})
	return errLacksRight
}

// has asks the API server whether the operator has a right: a quota and an admission policy refuse with the same code as
// RBAC. If the API server does not say, the answer is yes.
func (g *Generator) has(ctx context.Context, r right) bool {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: r.namespace, Verb: r.verb, Resource: "secrets"},
	}}
	return g.client.Create(ctx, review) != nil || review.Status.Allowed
}

// howToEnable ends each sentence about a missing right.
const howToEnable = "turn on config/generated-passwords (Helm: generatedPasswords.enabled=true)"

// missing returns the problem of a Secret that the operator could not create.
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

// notReplaced returns a sentence that says why the operator cannot replace a generated password.
func notReplaced(err error) string {
	if errors.Is(err, errLacksRight) {
		return "The operator cannot replace it, since it has no right to patch Secrets there; " + howToEnable + "."
	}
	return fmt.Sprintf("The operator cannot replace it: the API server refuses the change of the Secret (%s).",
		cmp.Or(apierrors.ReasonForError(err), "Denied"))
}

// generate creates the Secret of a user.
func (g *Generator) generate(ctx context.Context, u *v1alpha1.ShardingUser, username string, length int) (*corev1.Secret, error) {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: u.Namespace,
			Name:      u.Spec.Password.SecretRef.Name,
			Labels: map[string]string{
				"app.kubernetes.io/component":  "generated-password",
				"app.kubernetes.io/managed-by": "shardinguser-operator",
			},
			// It does not block the user's deletion: that would need a right on finalizers.
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "ShardingUser", Name: u.Name, UID: u.UID, Controller: new(true),
			}},
		},
		Type: corev1.SecretTypeBasicAuth,
		Data: map[string][]byte{
			corev1.BasicAuthUsernameKey: []byte(username),
			corev1.BasicAuthPasswordKey: []byte(password.Random(length)),
		},
	}
	return secret, g.try(ctx, right{u.Namespace, "create"}, func() error { return g.client.Create(ctx, secret) })
}

// renew replaces the password in the Secret, unless another writer changed the Secret since it was read.
func (g *Generator) renew(ctx context.Context, secret *corev1.Secret, length int) (*corev1.Secret, error) {
	renewed := secret.DeepCopy()
	renewed.Data[corev1.BasicAuthPasswordKey] = []byte(password.Random(length))
	patch := client.MergeFromWithOptions(secret, client.MergeFromWithOptimisticLock{})
	return renewed, g.try(ctx, right{secret.Namespace, "patch"}, func() error { return g.client.Patch(ctx, renewed, patch) })
}

// isGenerated reports whether the operator created the Secret for the resource.
func isGenerated(secret metav1.Object, u *v1alpha1.ShardingUser) bool {
	return u.Spec.Password.Generate != nil && metav1.IsControlledBy(secret, u)
}

// passwordLength returns the length of a generated password.
func (s *Reader) passwordLength(u *v1alpha1.ShardingUser, terms user.Terms) int {
	length := int(u.Spec.Password.Generate.Length)
	if length == 0 {
		length = defaultLength
	}
	return max(length, s.minLength, terms.MinPasswordLength)
}
