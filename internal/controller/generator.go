// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"

	corev1 "k8s.io/api/core/v1"
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
type generator struct {
	client client.Client
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
	return secret, g.client.Create(ctx, secret)
}

// renew puts another password into the Secret, unless somebody changed it since it was read.
func (g *generator) renew(ctx context.Context, secret *corev1.Secret, length int) (*corev1.Secret, error) {
	renewed := secret.DeepCopy()
	renewed.Data[corev1.BasicAuthPasswordKey] = []byte(password.Random(length))
	return renewed, g.client.Patch(ctx, renewed, client.MergeFromWithOptions(secret, client.MergeFromWithOptimisticLock{}))
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
