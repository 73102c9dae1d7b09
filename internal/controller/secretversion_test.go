// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"testing"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// inForce waits until the status names this version of the Secret as the one whose password is in the row.
func (s *story) inForce(u *v1alpha1.ShardingUser, secret *corev1.Secret) {
	s.t.Helper()
	s.eventually(func(g gomega.Gomega) {
		g.Expect(s.kube.Get(s.t.Context(), client.ObjectKeyFromObject(u), u)).To(gomega.Succeed())
		g.Expect(u.Status.PasswordSecretVersion).To(gomega.Equal(secret.ResourceVersion))
	})
}

func (s *story) label(secret *corev1.Secret, value string) {
	s.t.Helper()
	base := secret.DeepCopy()
	secret.Labels = map[string]string{"touched": value}
	s.Expect(s.kube.Patch(s.t.Context(), secret, client.MergeFrom(base))).To(gomega.Succeed())
}

func TestTheStatusNamesTheSecretVersionInForce(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	secret := s.secret("alice", "password", canary+" first")
	u := s.readyUser("alice", secretRef("alice", ""))
	s.inForce(u, secret)

	s.put(secret, "password", canary+" second")
	s.inForce(u, secret)
	s.Expect(s.row("alice").isOf(canary+" second")).To(gomega.BeTrue(), "once the status says so, the row has it")
	hash, computed := s.row("alice").Hash, op.hasher.Computed()

	// People wait for the version of the Secret, whatever was edited in it.
	s.label(secret, "once")
	s.inForce(u, secret)
	s.Expect(s.row("alice").Hash).To(gomega.Equal(hash))
	s.Expect(op.hasher.Computed()).To(gomega.Equal(computed))

	// After a restart too: nothing is concluded from what the status said.
	op.stop()
	s.label(secret, "stopped")
	op = s.start()
	s.inForce(u, secret)
	s.Expect(s.row("alice").Hash).To(gomega.Equal(hash))
	s.Expect(op.hasher.Computed()).To(gomega.BeZero())

	// The former one stays in force.
	valid := secret.DeepCopy()
	s.put(secret, "password", "")
	s.reports(u, v1alpha1.ReasonPasswordInvalid)
	s.Expect(u.Status.PasswordSecretVersion).To(gomega.Equal(valid.ResourceVersion))
	s.put(secret, "password", canary+" third")
	s.inForce(u, secret)

	// The password becomes another program's.
	s.edit(u, func(u *v1alpha1.ShardingUser) { u.Spec.Password = nil })
	s.ready(u)
	s.Expect(u.Status.PasswordSecretVersion).To(gomega.BeEmpty())
}

func TestTheSecretVersionOfEveryKindOfPassword(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	hashed := s.secret("hashed", "password", aHash)
	u := s.readyUser("hashed", hashedSecret("hashed"))
	s.inForce(u, hashed)
	s.sql(`UPDATE users SET password_hash = $1 WHERE username = 'hashed'`, anotherHash)
	s.eventually(func(g gomega.Gomega) { g.Expect(s.row("hashed").Hash).To(gomega.Equal(aHash)) })
	s.inForce(u, hashed)

	u = s.readyUser("generated", generated("generated", 0))
	s.inForce(u, s.found("generated"))

	// An adopted row gets the Secret's password before the status names it.
	s.sql(`INSERT INTO users (username, password_hash) VALUES ('adopted', $1)`, anotherHash)
	adopted := s.secret("adopted", "password", aHash)
	u = s.readyUser("adopted", hashedSecret("adopted"), func(u *v1alpha1.ShardingUser) { u.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned })
	s.inForce(u, adopted)
	s.Expect(s.row("adopted").Hash).To(gomega.Equal(aHash))

	s.secret("none", "other", canary)
	u = s.user("none", secretRef("none", ""))
	s.reports(u, v1alpha1.ReasonSecretKeyNotFound)
	s.Expect(u.Status.PasswordSecretVersion).To(gomega.BeEmpty())
}
