// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// generated asks for a password that the operator makes, in the Secret of this name.
func generated(name string, length int32) edit {
	return func(u *v1alpha1.ShardingUser) {
		secretRef(name, "")(u)
		u.Spec.Password.Generate = &v1alpha1.PasswordGeneration{Length: length}
	}
}

func maxAge(longest time.Duration) edit {
	return func(u *v1alpha1.ShardingUser) { u.Spec.Password.MaxAge = &metav1.Duration{Duration: longest} }
}

// found is a Secret as it is now.
func (s *story) found(name string) *corev1.Secret {
	s.t.Helper()
	secret := &corev1.Secret{}
	s.Expect(s.kube.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, secret)).To(gomega.Succeed())
	return secret
}

// age makes the password of a username so old.
func (s *story) age(username string, age time.Duration) {
	s.t.Helper()
	s.sql(`UPDATE shardinguser_ownership SET password_changed_at = now() - $2::interval WHERE username = $1`, username, age.String())
}

func TestGeneratedPasswordIsInASecretOfTheUsersOwn(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	u := s.readyUser("alice", username("alice@example.com"), generated("alice-login", 0))
	secret := s.found("alice-login")
	s.Expect(secret.Type).To(gomega.Equal(corev1.SecretTypeBasicAuth))
	s.Expect(secret.Data).To(gomega.HaveLen(2))
	s.Expect(secret.Data).To(gomega.HaveKeyWithValue("username", []byte("alice@example.com")))
	s.Expect(secret.Data["password"]).To(gomega.HaveLen(24))
	s.Expect(metav1.IsControlledBy(secret, u)).To(gomega.BeTrue(), "it goes with its user")
	s.Expect(s.row("alice@example.com").isOf(string(secret.Data["password"]))).To(gomega.BeTrue())
	s.Expect(op.hasher.Computed()).To(gomega.BeEquivalentTo(1))
	s.told("alice", map[string]int{v1alpha1.EventCreated: 1})
	s.Expect(meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionWeakPassword)).To(gomega.BeNil())

	// A value that an administrator writes into it counts, as with every Secret.
	s.put(secret, "password", canary+" alice")
	s.eventually(func(g gomega.Gomega) {
		g.Expect(s.row("alice@example.com").isOf(canary + " alice")).To(gomega.BeTrue())
	})

	// Where it is gone, there is another one.
	s.remove(secret)
	s.eventually(func(g gomega.Gomega) {
		again := &corev1.Secret{}
		g.Expect(s.kube.Get(t.Context(), client.ObjectKeyFromObject(secret), again)).To(gomega.Succeed())
		g.Expect(again.UID).NotTo(gomega.Equal(secret.UID))
		g.Expect(s.row("alice@example.com").isOf(string(again.Data["password"]))).To(gomega.BeTrue())
	})

	s.remove(u)
	s.gone(u)
}

func TestSecretOfAnotherOwnerIsReadAndNeverChanged(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	secret := s.secret("alice", "password", canary+" alice")
	u := s.readyUser("alice", generated("alice", 0), maxAge(time.Hour))
	s.Expect(s.row("alice").isOf(canary + " alice")).To(gomega.BeTrue())

	s.age("alice", 2*time.Hour)
	s.edit(u, roles("viewer"))
	s.condition(u, v1alpha1.ConditionPasswordExpired, v1alpha1.ReasonMaxAgeExceeded)
	s.ready(u)
	s.Expect(s.found("alice").ResourceVersion).To(gomega.Equal(secret.ResourceVersion))

	// Nor is one that belongs to another user.
	owned := s.readyUser("bob", generated("bob", 0))
	before := s.found("bob")
	carol := s.readyUser("carol", generated("bob", 0), maxAge(time.Hour))
	s.age("carol", 2*time.Hour)
	s.edit(carol, roles("viewer"))
	s.condition(carol, v1alpha1.ConditionPasswordExpired, v1alpha1.ReasonMaxAgeExceeded)
	s.ready(owned)
	s.Expect(s.found("bob").ResourceVersion).To(gomega.Equal(before.ResourceVersion))
}

func TestGeneratedPasswordThatIsTooOldIsReplacedOnce(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	u := s.readyUser("alice", generated("alice", 16), maxAge(time.Hour))
	first := s.found("alice")
	s.sql(`UPDATE users SET failed_login_attempts = 4 WHERE username = 'alice'`)
	s.edit(u, generated("alice", 30), maxAge(time.Hour))
	s.ready(u)
	s.Expect(s.found("alice").ResourceVersion).To(gomega.Equal(first.ResourceVersion), "another length is the next password's")

	s.age("alice", 2*time.Hour)
	s.edit(u, maxAge(61*time.Minute)) // it is looked at
	s.eventually(func(g gomega.Gomega) { g.Expect(s.found("alice").Data["password"]).To(gomega.HaveLen(30)) })
	second := s.found("alice")
	s.Expect(second.UID).To(gomega.Equal(first.UID))
	s.Expect(second.Data["username"]).To(gomega.Equal(first.Data["username"]))
	s.eventually(func(g gomega.Gomega) {
		g.Expect(s.row("alice").isOf(string(second.Data["password"]))).To(gomega.BeTrue())
	})
	s.told("alice", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventPasswordChanged: 1})
	s.ready(u)
	s.Expect(meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionPasswordExpired)).To(gomega.BeNil())
	s.Expect(s.row("alice").Failed).To(gomega.BeZero(), "a new password starts from a clean counter")

	s.edit(u, roles("viewer"))
	s.ready(u)
	s.Expect(s.found("alice").ResourceVersion).To(gomega.Equal(second.ResourceVersion), "it is young now")
	s.Expect(op.hasher.Computed()).To(gomega.BeEquivalentTo(2))
}

func TestNoPasswordIsGeneratedWithoutARow(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	s.readyUser("alice")
	taken := s.user("another-alice", username("alice"), generated("another-alice", 0))
	s.reports(taken, v1alpha1.ReasonUsernameTaken)
	paused := s.user("paused", annotation(v1alpha1.AnnotationPaused, "true"), generated("paused", 0))
	s.reports(paused, v1alpha1.ReasonPaused)
	for _, name := range []string{"another-alice", "paused"} {
		err := s.kube.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, &corev1.Secret{})
		s.Expect(apierrors.IsNotFound(err)).To(gomega.BeTrue(), "%s: %v", name, err)
	}
	s.edit(paused, withoutAnnotation(v1alpha1.AnnotationPaused))
	s.ready(paused)
	s.Expect(s.row("paused").isOf(string(s.found("paused").Data["password"]))).To(gomega.BeTrue())
}

func TestGeneratedPasswordIsAsLongAsThePolicyAsks(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	s.policy("long", asking(v1alpha1.PasswordTerms{MinLength: 40}))
	s.readyUser("alice", generated("alice", 16))
	s.Expect(s.found("alice").Data["password"]).To(gomega.HaveLen(40))
}

func TestGeneratedPasswordThatIsTooShortByNowIsReplaced(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	u := s.readyUser("alice", generated("alice", 16))
	s.policy("longer", asking(v1alpha1.PasswordTerms{MinLength: 40}))
	s.eventually(func(g gomega.Gomega) {
		now := s.found("alice").Data["password"]
		g.Expect(now).To(gomega.HaveLen(40))
		g.Expect(s.row("alice").isOf(string(now))).To(gomega.BeTrue())
	})
	s.ready(u)
}

// The Secret is immutable: its password stays in force, and every other request is handled.
func TestRenewalThatIsRefusedHoldsUpNothingElse(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	u := s.readyUser("alice", generated("alice", 0), maxAge(time.Hour))
	secret := s.found("alice")
	frozen := secret.DeepCopy()
	frozen.Immutable = new(true)
	s.Expect(s.kube.Patch(t.Context(), frozen, client.MergeFrom(secret))).To(gomega.Succeed())
	s.eventually(func(g gomega.Gomega) {
		g.Expect(s.note("alice").PasswordVersion).To(gomega.ContainSubstring("/" + frozen.ResourceVersion + "/"))
	})

	s.age("alice", 2*time.Hour)
	s.edit(u, func(u *v1alpha1.ShardingUser) { u.Spec.Active = new(false) })
	s.condition(u, v1alpha1.ConditionPasswordExpired, v1alpha1.ReasonMaxAgeExceeded)
	s.ready(u)
	row := s.row("alice")
	s.Expect(row.Active).To(gomega.BeFalse())
	row.Hash = user.EnabledHash(row.Hash)
	s.Expect(row.isOf(string(secret.Data["password"]))).To(gomega.BeTrue())
}

// A password that is in the Secret and not in the row would lock out every program that takes it from there.
func TestNoPasswordIsRenewedWhileTheDatabaseTakesNoWrites(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	op := s.start()
	u := s.readyUser("alice", generated("alice", 0), maxAge(time.Hour))
	before := s.found("alice")
	writer, err := s.db.Acquire(t.Context()) // whose session stays as it is
	s.Expect(err).NotTo(gomega.HaveOccurred())
	defer writer.Release()
	become := func(setting string) {
		_, err := writer.Exec(t.Context(), `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I `+setting+`', current_database()); END $$`)
		s.Expect(err).NotTo(gomega.HaveOccurred())
		_, err = writer.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'shardinguser-operator' AND pid <> pg_backend_pid()`)
		s.Expect(err).NotTo(gomega.HaveOccurred())
	}
	become("SET default_transaction_read_only = on")
	s.eventually(func(g gomega.Gomega) {
		health := op.health()
		g.Expect(health.Reading).NotTo(gomega.HaveOccurred())
		g.Expect(health.Writing).To(gomega.HaveOccurred())
	})
	_, err = writer.Exec(t.Context(), `UPDATE shardinguser_ownership SET password_changed_at = now() - interval '2 hours'`)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.edit(u, roles("viewer"))
	s.reports(u, v1alpha1.ReasonDatabaseUnavailable)
	s.Expect(s.found("alice").ResourceVersion).To(gomega.Equal(before.ResourceVersion))

	become("RESET default_transaction_read_only")
	s.ready(u)
	s.eventually(func(g gomega.Gomega) {
		now := s.found("alice")
		g.Expect(now.ResourceVersion).NotTo(gomega.Equal(before.ResourceVersion))
		g.Expect(s.row("alice").isOf(string(now.Data["password"]))).To(gomega.BeTrue())
	})
}

// The renewal is written and the program is gone before it comes to the row: what is in the Secret by then is taken.
func TestRenewalThatWasCutOffIsNotMadeTwice(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	op := s.start()
	u := s.readyUser("alice", generated("alice", 0), maxAge(time.Hour))
	op.stop()
	s.age("alice", 2*time.Hour)
	secret := s.found("alice")
	s.put(secret, "password", canary+" as renewed")

	s.start()
	s.edit(u, roles("viewer"))
	s.ready(u)
	s.eventually(func(g gomega.Gomega) {
		var changed bool
		g.Expect(s.db.QueryRow(t.Context(), `SELECT password_changed_at > now() - interval '1 hour' FROM shardinguser_ownership
			WHERE username = 'alice'`).Scan(&changed)).To(gomega.Succeed())
		g.Expect(changed).To(gomega.BeTrue())
	})
	s.Expect(s.found("alice").ResourceVersion).To(gomega.Equal(secret.ResourceVersion))
}
