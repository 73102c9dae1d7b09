// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/onsi/gomega"
	"golang.org/x/crypto/bcrypt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// setPassword gives a user the password on the standard input.
func (sh *shell) setPassword(password, name string, args ...string) result {
	sh.s.t.Helper()
	args = append([]string{"set-password", name, "--stdin"}, args...)
	return sh.discreet(sh.run(password, "kubectl-shardinguser", args...))
}

// isPassword waits until a row has a hash of this password.
func (s *story) isPassword(username, password string) {
	s.t.Helper()
	s.eventually(soon, func(g gomega.Gomega) {
		row := s.row(username)
		g.Expect(row).NotTo(gomega.BeNil())
		g.Expect(bcrypt.CompareHashAndPassword([]byte(row.Hash), []byte(password))).To(gomega.Succeed())
	})
}

// value returns the password in a user's Secret.
func (s *story) value(name string) string {
	s.t.Helper()
	var secret corev1.Secret
	s.Expect(s.kube.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, &secret)).To(gomega.Succeed())
	return string(secret.Data["password"])
}

func TestPluginSetsAPasswordFromAnySource(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.start()
	sh := s.newShell()

	// A missing Secret is created. An existing Secret keeps its other keys.
	s.user("alice", secret("alice"))
	s.Expect(sh.setPassword(canary+" one\n", "alice").code).To(gomega.BeZero())
	s.isPassword("alice", canary+" one")
	var kept corev1.Secret
	s.Expect(s.kube.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "alice"}, &kept)).To(gomega.Succeed())
	kept.Data["other"] = []byte("kept")
	s.Expect(s.kube.Update(t.Context(), &kept)).To(gomega.Succeed())
	got := sh.setPassword(canary+" two", "alice")
	s.Expect(got.out).To(gomega.Equal("shardinguser.sharding.io/alice has a new password, in secret/alice\n"))
	s.Expect(got.errOut).To(gomega.MatchRegexp(`Strength: \d of 4`))
	s.isPassword("alice", canary+" two")
	s.Expect(s.kube.Get(t.Context(), client.ObjectKeyFromObject(&kept), &kept)).To(gomega.Succeed())
	s.Expect(string(kept.Data["other"])).To(gomega.Equal("kept"))

	// Only a generated password is printed.
	made := sh.plugin("set-password", "alice", "--generate")
	s.Expect(made.out).To(gomega.MatchRegexp(`^[A-Za-z0-9]{24}\n$`))
	s.isPassword("alice", strings.TrimSuffix(made.out, "\n"))
	var written struct {
		Secret, Password string
		Strength         struct{ Score int }
	}
	s.Expect(json.Unmarshal([]byte(sh.done("set-password", "alice", "--generate=16", "-o", "json")), &written)).To(gomega.Succeed())
	s.Expect(written.Password).To(gomega.HaveLen(16))
	s.Expect(written.Strength.Score).To(gomega.Equal(4))
	s.isPassword("alice", written.Password)

	// For a user with a hash, no plaintext password is stored in the cluster.
	s.user("bob", secret("bob"), hashed)
	s.Expect(sh.setPassword(canary+" bob", "bob", "--bcrypt-cost=11").code).To(gomega.BeZero())
	s.isPassword("bob", canary+" bob")
	s.Expect(s.value("bob")).To(gomega.HavePrefix("$2a$11$"))

	// A user without spec.password gets one after a confirmation.
	carol := s.readyUser("carol")
	got = sh.setPassword(canary+" carol", "carol")
	s.Expect(got.code).To(gomega.Equal(2))
	s.Expect(got.errOut).To(gomega.ContainSubstring("--yes"))
	s.Expect(sh.setPassword(canary+" carol", "carol", "--yes").code).To(gomega.BeZero())
	s.isPassword("carol", canary+" carol")
	s.Expect(s.kube.Get(t.Context(), key(carol), carol)).To(gomega.Succeed())
	s.Expect(carol.Spec.Password.SecretRef.Name).To(gomega.Equal("carol-password"))

	// A Secret that several users share also needs a confirmation.
	s.readyUser("dave", secret("alice"))
	s.Expect(sh.setPassword(canary+" all", "dave").errOut).To(gomega.ContainSubstring("alice"))
	s.Expect(sh.setPassword(canary+" all", "dave", "-y").code).To(gomega.BeZero())
	s.isPassword("alice", canary+" all")
}

func TestPluginRejectsInvalidPasswords(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.secret("alice", canary+" before")
	s.user("alice", secret("alice"))
	sh := s.newShell()
	for name, password := range map[string]string{
		"empty": "", "a newline alone": "\n", "too short": "c4n4ry1", "a NUL": canary + "\x00 after it", "not UTF-8": canary + "\xff\xfe\xfd",
		"too long": strings.Repeat(canary, 13), "much too long": strings.Repeat(canary, 1000),
		"a byte order mark": "\ufeff" + canary + " after it", "an escape sequence": canary + "\x1b[2J", "a hash": aHash,
	} {
		got := sh.setPassword(password, "alice")
		s.Expect(got.code).To(gomega.Equal(2), name)
		s.Expect(got.errOut).To(gomega.ContainSubstring("the password "), name)
		s.Expect(s.value("alice")).To(gomega.Equal(canary+" before"), name)
	}
	s.Expect(sh.setPassword(canary+" 12345", "alice", "--min-length=20").code).To(gomega.Equal(2))
	s.Expect(sh.setPassword("admin123", "alice").errOut).To(gomega.ContainSubstring("attackers try it first"))
}

func TestPluginDoesNotChangeASecretOfAnotherProgram(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	sh := s.newShell()
	kept := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: "alice",
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "bitnami.com/v1alpha1", Kind: "SealedSecret", Name: "alice", UID: "none", Controller: new(true),
			}},
		},
		Data: map[string][]byte{"password": []byte(canary + " before")},
	}
	s.Expect(s.kube.Create(t.Context(), kept)).To(gomega.Succeed())
	s.user("alice", secret("alice"))
	got := sh.setPassword(canary+" after", "alice")
	s.Expect(got.code).To(gomega.Equal(2))
	s.Expect(got.errOut).To(gomega.ContainSubstring("SealedSecret alice"))
	s.Expect(s.value("alice")).To(gomega.Equal(canary + " before"))
	s.Expect(sh.setPassword(canary+" after", "alice", "--force").code).To(gomega.BeZero())
	s.Expect(s.value("alice")).To(gomega.Equal(canary + " after"))

	fixed := s.secret("fixed", canary+" before")
	fixed.Immutable = new(true)
	s.Expect(s.kube.Update(t.Context(), fixed)).To(gomega.Succeed())
	s.user("bob", secret("fixed"))
	s.Expect(sh.setPassword(canary+" after", "bob", "--force").errOut).To(gomega.ContainSubstring("immutable"))
}

// Not parallel: policies are cluster-wide.
func TestPluginChecksThePolicysPasswordLength(t *testing.T) {
	s := newStory(t)
	policy := s.policy("long-"+s.namespace, func(spec *v1alpha1.ShardingUserPolicySpec) {
		spec.Password = &v1alpha1.PasswordTerms{MinLength: 16}
	})
	s.secret("alice", canary+" long enough for all")
	u := s.user("alice", secret("alice"))
	u.Status.PermittedBy, u.Status.ObservedGeneration = policy.Name, u.Generation
	s.Expect(s.kube.Status().Update(t.Context(), u)).To(gomega.Succeed())
	got := s.newShell().setPassword(canary+" 1234567", "alice")
	s.Expect(got.code).To(gomega.Equal(2))
	s.Expect(got.errOut).To(gomega.ContainSubstring("at least 16"))
}

func TestPluginSetsAPasswordInAGeneratedSecret(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	sh := s.newShell()

	// Before the operator creates the Secret, the plugin asks, and creates it with all keys that programs expect.
	s.user("alice", secret("alice-login"), generated)
	got := sh.setPassword(canary+" alice", "alice")
	s.Expect(got.code).To(gomega.Equal(2))
	s.Expect(got.errOut).To(gomega.ContainSubstring("never replaces"))
	s.Expect(sh.setPassword(canary+" alice", "alice", "--yes").code).To(gomega.BeZero())
	var login corev1.Secret
	s.Expect(s.kube.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "alice-login"}, &login)).To(gomega.Succeed())
	s.Expect(login.Type).To(gomega.Equal(corev1.SecretTypeBasicAuth))
	s.Expect(string(login.Data["username"])).To(gomega.Equal("alice"))

	s.allowGeneration(s.namespace)
	s.start()
	s.isPassword("alice", canary+" alice")
	s.Expect(sh.done("doctor", "alice")).To(gomega.MatchRegexp("note +Password +The operator did not create"))
	s.readyUser("bob", secret("bob-login"), generated)
	got = sh.setPassword(canary+" bob", "bob")
	s.Expect(got.code).To(gomega.BeZero(), got.errOut)
	s.Expect(got.errOut).To(gomega.ContainSubstring("The operator created secret/bob-login"))
	s.isPassword("bob", canary+" bob")
}
