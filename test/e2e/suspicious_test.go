// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"testing"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

func TestPluginAsksAboutASuspiciousPassword(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.start()
	sh := s.newShell()
	s.secret("alice", canary+" before")
	s.readyUser("alice", secret("alice"))
	for says, given := range map[string]string{
		"quotation marks": `"` + canary + ` quoted"`, "a line ending": canary + " lines\n\n", "JSON": `{"password":"` + canary + `"}`,
	} {
		got := sh.setPassword(given, "alice")
		s.Expect(got.code).To(gomega.Equal(2), says)
		s.Expect(got.errOut).To(gomega.And(gomega.ContainSubstring(says), gomega.ContainSubstring("--yes")))
		s.Expect(s.value("alice")).To(gomega.Equal(canary+" before"), says)
	}

	// After a confirmation the password is stored byte for byte, and the operator reports it.
	got := sh.setPassword(canary+" lines\n\n", "alice", "--yes", "-o", "json")
	s.Expect(got.code).To(gomega.BeZero(), got.errOut)
	var written struct{ Suspicious string }
	s.Expect(json.Unmarshal([]byte(got.out), &written)).To(gomega.Succeed())
	s.Expect(written.Suspicious).To(gomega.Equal(v1alpha1.ReasonHasEdgeSpace))
	s.isPassword("alice", canary+" lines\n")
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(sh.plugin("doctor", "alice").out).To(gomega.MatchRegexp(`note +Account +PasswordSuspicious: .* line ending`))
	})

	// A Windows line ending is not part of the password.
	s.Expect(sh.setPassword(canary+" windows\r\n", "alice").code).To(gomega.BeZero())
	s.isPassword("alice", canary+" windows")

	basic := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "bob"}, Type: corev1.SecretTypeBasicAuth,
		Data: map[string][]byte{"username": []byte(canary + "-carol"), "password": []byte(canary + " bob")},
	}
	s.Expect(s.kube.Create(t.Context(), basic)).To(gomega.Succeed())
	s.readyUser("bob", secret("bob"))
	s.Expect(sh.plugin("doctor", "bob").out).To(gomega.MatchRegexp(`note +Account +PasswordSuspicious: .*basic-auth`))
	s.Expect(sh.setPassword(canary+" another", "bob").errOut).To(gomega.ContainSubstring(`key "username"`))
}

func TestDoctorFindsASecretInAnotherNamespace(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	elsewhere := s.newNamespace()
	name := "only-in-" + elsewhere // all stories share the API server
	s.Expect(s.kube.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: elsewhere, Name: name}, Data: map[string][]byte{"password": []byte(canary)},
	})).To(gomega.Succeed())
	s.user("alice", secret(name))
	const sentence = "A ShardingUser reads only Secrets of its own namespace."
	s.Expect(s.newShell().plugin("doctor", "alice").out).To(gomega.And(
		gomega.ContainSubstring(`exists in namespace `+elsewhere+". "+sentence), gomega.Not(gomega.ContainSubstring("namespace "+s.namespace+". A"))))

	// The Secret is found by its name alone. The plugin does not search where it has no right to.
	administrator := "administrator-" + s.namespace
	config, err := plane.User(administrator)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: administrator}}
	for _, role := range []string{"admin", "shardinguser-viewer-role"} {
		s.Expect(s.kube.Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}, Subjects: subjects,
		})).To(gomega.Succeed())
	}
	got := s.newShell(config).plugin("doctor", "alice")
	s.Expect(got.out).To(gomega.MatchRegexp(`WRONG +Password .*does not exist`))
	s.Expect(got.out).NotTo(gomega.ContainSubstring(sentence))
}
