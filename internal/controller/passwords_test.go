// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/onsi/gomega"
	"golang.org/x/crypto/bcrypt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Hashes are costly, and many times so under the race detector: stories that are not about hashing take this one from
// their Secrets. Its password does not matter.
const (
	aHash       = "$2b$10$" + "abcdefghijklmnopqrstuu" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ01234"
	anotherHash = "$2b$10$" + "abcdefghijklmnopqrstuu" + "01234ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// isOf tells whether the row's hash is of this password.
func (r *row) isOf(plain string) bool {
	return bcrypt.CompareHashAndPassword([]byte(r.Hash), []byte(plain)) == nil
}

func TestSecretThatComesAfterItsUserIsTakenAtOnce(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	u := s.user("alice", secretRef("late", "here"))
	c := s.reports(u, v1alpha1.ReasonSecretNotFound)
	s.Expect(c.Message).To(gomega.ContainSubstring(`"late"`))
	s.Expect(u.Status.Conditions).NotTo(gomega.ContainElement(gomega.HaveField("Type", v1alpha1.ConditionStalled)))
	s.Expect(s.row("alice").Hash).To(gomega.Equal("!"), "nothing matches until there is a password")

	secret := s.secret("late", "elsewhere", canary+" elsewhere")
	c = s.reports(u, v1alpha1.ReasonSecretKeyNotFound)
	s.Expect(c.Message).To(gomega.ContainSubstring(`"here"`))
	s.Expect(s.row("alice").Hash).To(gomega.Equal("!"))

	s.put(secret, "here", canary+" here\n")
	s.ready(u)
	s.Expect(s.row("alice").isOf(canary+" here")).To(gomega.BeTrue(), "one trailing newline is dropped")
	s.told("alice", map[string]int{
		v1alpha1.EventCreated: 1, v1alpha1.ReasonSecretNotFound: 1, v1alpha1.ReasonSecretKeyNotFound: 1, v1alpha1.EventPasswordChanged: 1,
	})
}

func TestOneSecretRotatesAllOfItsUsersAtOnce(t *testing.T) {
	t.Parallel()
	const users = 8 // the end-to-end story has 50
	s, op := begin(t)
	var all []*v1alpha1.ShardingUser
	for i := range users {
		all = append(all, s.user(fmt.Sprintf("user-%d", i), secretRef("shared", "")))
	}
	for _, u := range all {
		s.reports(u, v1alpha1.ReasonSecretNotFound)
	}

	secret := s.secret("shared", "password", canary+" shared")
	hashes := map[string]bool{}
	for _, u := range all {
		s.ready(u)
		hashes[s.row(u.Name).Hash] = true
	}
	s.Expect(hashes).To(gomega.HaveLen(users), "each user has a salt of its own")
	s.Expect(op.hasher.Computed()).To(gomega.BeEquivalentTo(users))
	s.Expect(s.row("user-0").isOf(canary + " shared")).To(gomega.BeTrue())

	// Anything else that happens to the Secret wakes all of them, and hashes nothing.
	base := secret.DeepCopy()
	secret.Labels = map[string]string{"touched": "yes"}
	s.Expect(s.kube.Patch(t.Context(), secret, client.MergeFrom(base))).To(gomega.Succeed())
	s.put(secret, "unrelated", canary+" unrelated")
	s.appliedVersion(secret, all...)
	for _, u := range all {
		s.Expect(hashes).To(gomega.HaveKey(s.row(u.Name).Hash), "the hash is byte for byte the same")
	}
	s.Expect(op.hasher.Computed()).To(gomega.BeEquivalentTo(users))
	s.Expect(op.hasher.Compared()).To(gomega.BeZero(), "a password that was hashed here is recognised without bcrypt")
	for _, u := range all {
		s.Expect(s.events(s, u.Name)).NotTo(gomega.HaveKeyWithValue(v1alpha1.EventPasswordChanged, gomega.BeNumerically(">", 1)))
	}
}

// appliedVersion waits until the Secret as it is now has been noted as applied for all of these users.
func (s *story) appliedVersion(secret *corev1.Secret, users ...*v1alpha1.ShardingUser) {
	s.t.Helper()
	for _, u := range users {
		s.eventually(func(g gomega.Gomega) {
			g.Expect(s.note(u.Name).PasswordVersion).To(gomega.ContainSubstring(secret.ResourceVersion))
		})
	}
}

func TestKeysOfOneSecretArePasswordsOfTheirOwn(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	secret := s.secret("team", "a", canary+" team a", "b", canary+" team b")
	a := s.readyUser("a", secretRef("team", "a"))
	b := s.readyUser("b", secretRef("team", "b"))
	before := s.row("b")

	s.put(secret, "a", canary+" team a, another")
	s.appliedVersion(secret, a, b)
	s.Expect(s.row("a").isOf(canary + " team a, another")).To(gomega.BeTrue())
	s.Expect(s.row("b").Hash).To(gomega.Equal(before.Hash))
	s.Expect(s.row("b").Updated).To(gomega.Equal(before.Updated))
	s.Expect(op.hasher.Computed()).To(gomega.BeEquivalentTo(3))
	s.told("b", map[string]int{v1alpha1.EventCreated: 1})
}

func TestNewPasswordStartsFromACleanCounter(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	secret := s.secret("locked", "password", aHash)
	u := s.readyUser("locked", hashedSecret("locked"))
	s.sql(`UPDATE users SET failed_login_attempts = 5, last_login_at = '2026-01-31 12:00:00',
		locked_until = (now() AT TIME ZONE 'UTC') + interval '1 hour' WHERE username = 'locked'`)
	s.condition(u, v1alpha1.ConditionLocked, v1alpha1.ReasonTooManyFailedAttempts)

	s.put(secret, "password", anotherHash)
	s.condition(u, v1alpha1.ConditionLocked, v1alpha1.ReasonNotLocked)
	r := s.row("locked")
	s.Expect(r.Hash).To(gomega.Equal(anotherHash))
	s.Expect(r.Failed).To(gomega.BeZero())
	s.Expect(r.LockedUntil).To(gomega.BeNil())
	s.Expect(r.LastLogin).NotTo(gomega.BeNil(), "the last login is not about the password")
}

func TestHashIsTakenAsItIs(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	secret := s.secret("hashed", "password", aHash+"\n")
	u := s.readyUser("hashed", hashedSecret("hashed"))
	s.Expect(s.row("hashed").Hash).To(gomega.Equal(aHash))
	changed := u.Status.PasswordChangedTime
	s.Expect(changed).NotTo(gomega.BeNil())

	s.put(secret, "password", anotherHash)
	s.eventually(func(g gomega.Gomega) { g.Expect(s.row("hashed").Hash).To(gomega.Equal(anotherHash)) })
	s.ready(u)
	s.Expect(op.hasher.Computed() + op.hasher.Compared()).To(gomega.BeZero())
	s.told("hashed", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventPasswordChanged: 1})
}

func TestUserWithoutAPasswordKeepsWhatOthersWrite(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	u := s.readyUser("open", roles("viewer"))
	s.Expect(s.row("open").Hash).To(gomega.Equal("!"))
	s.Expect(u.Status.PasswordChangedTime).To(gomega.BeNil())

	s.sql(`UPDATE users SET password_hash = 'set by the manager' WHERE username = 'open'`)
	s.edit(u, roles("admin"))
	s.ready(u)
	s.Expect(s.row("open").Hash).To(gomega.Equal("set by the manager"))

	// A password that is named from now on is ours; one that is named no longer stays in the row.
	s.secret("open", "password", aHash)
	s.edit(u, hashedSecret("open"))
	s.ready(u)
	s.Expect(s.row("open").Hash).To(gomega.Equal(aHash))
	s.edit(u, func(u *v1alpha1.ShardingUser) { u.Spec.Password = nil })
	s.ready(u)
	s.Expect(s.row("open").Hash).To(gomega.Equal(aHash))
	s.sql(`UPDATE users SET password_hash = 'set by the manager again', roles = '[]' WHERE username = 'open'`)
	s.eventually(func(g gomega.Gomega) { g.Expect(s.row("open").Roles).To(gomega.MatchJSON(`["admin"]`)) })
	s.Expect(s.row("open").Hash).To(gomega.Equal("set by the manager again"))
	s.Expect(op.metric(t, "shardinguser_drift_corrections_total", "password_hash")).To(gomega.BeZero())
}

func TestWeakPasswordIsUsedAndReported(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	secret := s.secret("weak", "password", "Operator123")
	u := s.readyUser("weak", secretRef("weak", ""))
	s.condition(u, v1alpha1.ConditionWeakPassword, v1alpha1.ReasonWellKnown)
	s.Expect(s.row("weak").isOf("Operator123")).To(gomega.BeTrue())

	s.put(secret, "password", canary+" not weak at all")
	s.eventually(func(g gomega.Gomega) {
		s.refresh(u)
		g.Expect(u.Status.Conditions).NotTo(gomega.ContainElement(gomega.HaveField("Type", v1alpha1.ConditionWeakPassword)))
	})
	s.told("weak", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.ConditionWeakPassword: 1, v1alpha1.EventPasswordChanged: 1})
}

func TestUnusableValueIsRefusedAndTheOldPasswordStays(t *testing.T) {
	t.Parallel()
	digest := aHash[7:]
	for _, kind := range []struct {
		name, good string
		format     v1alpha1.PasswordFormat
		bad        map[string]string // the value, and what the message must say
	}{
		{"plain", canary + " good", v1alpha1.PasswordFormatPlain, map[string]string{
			"":                                      "empty",
			"\n":                                    "empty",
			canary + "\x00nul":                      "NUL",
			canary + "\xff\xfe":                     "UTF-8",
			canary + strings.Repeat("x", 73-6):      "72 bytes",
			canary[:6] + "7":                        "at least 8",
			canary + strings.Repeat("ä", 34) + "\n": "72 bytes",
		}},
		{"bcrypt", aHash, v1alpha1.PasswordFormatBcrypt, map[string]string{
			"":                             "bcrypt hash",
			"$2x$10$" + digest:             "$2x$",
			"$2a$04$" + digest:             "10 to 14",
			"$2a$31$" + digest:             "10 to 14",
			"$2a$1x$" + digest:             "two digits",
			aHash[:59]:                     "60 characters",
			aHash + "\n\n":                 "60 characters",
			aHash + "\r\n\n":               "60 characters",
			aHash[:59] + "=":               "letters, digits",
			"$6$salt$" + digest + digest:   "$2a$, $2b$ or $2y$",
			canary + " is no hash, a word": "$2a$, $2b$ or $2y$",
		}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			s, op := begin(t)
			secret := s.secret("bad", "password", kind.good)
			u := s.readyUser("bad", hashedSecret("bad"), func(u *v1alpha1.ShardingUser) { u.Spec.Password.Format = kind.format })
			before, hashes := s.row("bad"), op.hasher.Computed()
			for value, message := range kind.bad {
				// A good value in between would cost a hash, so the message has to tell one bad value from another.
				s.put(secret, "password", value)
				s.eventually(func(g gomega.Gomega) {
					s.refresh(u)
					g.Expect(u.Status.Conditions).To(gomega.ContainElements(
						gomega.And(gomega.HaveField("Type", v1alpha1.ConditionReady), gomega.HaveField("Status", metav1.ConditionFalse),
							gomega.HaveField("Reason", v1alpha1.ReasonPasswordInvalid), gomega.HaveField("Message", gomega.ContainSubstring(message))),
						gomega.HaveField("Type", v1alpha1.ConditionStalled)))
				})
				for _, c := range u.Status.Conditions {
					s.Expect(c.Message).NotTo(gomega.Or(gomega.ContainSubstring(canary), gomega.ContainSubstring(digest)))
				}
				s.Expect(s.row("bad")).To(gomega.Equal(before), "the old password stays in force")
			}
			s.Expect(op.hasher.Computed()).To(gomega.Equal(hashes), "nothing was hashed")

			s.Expect(s.kube.Delete(t.Context(), secret)).To(gomega.Succeed())
			s.reports(u, v1alpha1.ReasonSecretNotFound)
			s.Expect(s.row("bad")).To(gomega.Equal(before))

			s.secret("bad", "password", kind.good)
			s.ready(u)
			s.Expect(s.row("bad").Hash).To(gomega.Equal(before.Hash), "the same password again is no change")
			s.told("bad", map[string]int{
				v1alpha1.EventCreated: 1, v1alpha1.ReasonPasswordInvalid: 1, v1alpha1.ReasonSecretNotFound: 1,
			})
		})
	}
}

func TestDeletionNeverWaitsForASecret(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	never := s.user("never", secretRef("missing", ""))
	s.reports(never, v1alpha1.ReasonSecretNotFound)
	s.remove(never)
	s.Expect(s.row("never")).To(gomega.BeNil())

	secret := s.secret("gone", "password", aHash)
	u := s.readyUser("gone", hashedSecret("gone"))
	s.Expect(s.kube.Delete(t.Context(), secret)).To(gomega.Succeed())
	s.remove(u)
	s.Expect(s.row("gone")).To(gomega.BeNil())
}
