// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Policies are cluster-wide: none of these stories is parallel.

// policy creates a policy for the story's namespace, which is deleted before the next story begins.
func (s *story) policy(name string, change func(*v1alpha1.ShardingUserPolicySpec)) *v1alpha1.ShardingUserPolicy {
	s.t.Helper()
	p := &v1alpha1.ShardingUserPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.ShardingUserPolicySpec{
		NamespaceSelector: selecting(s.namespace), Usernames: []v1alpha1.Glob{"*"},
	}}
	change(&p.Spec)
	s.Expect(s.kube.Create(s.t.Context(), p)).To(gomega.Succeed())
	s.t.Cleanup(func() {
		if err := s.kube.Delete(context.WithoutCancel(s.t.Context()), p); client.IgnoreNotFound(err) != nil {
			s.t.Error(err)
		}
	})
	return p
}

func selecting(namespace string) *v1alpha1.NamespaceSelector {
	return &v1alpha1.NamespaceSelector{MatchLabels: map[string]v1alpha1.LabelValue{corev1.LabelMetadataName: v1alpha1.LabelValue(namespace)}}
}

func TestPolicyLockoutAppliesToEveryReplica(t *testing.T) {
	s := newStory(t)
	s.policy("strict", func(p *v1alpha1.ShardingUserPolicySpec) {
		p.Lockout = &v1alpha1.LockoutTerms{
			Attempts: 2, Duration: &metav1.Duration{Duration: time.Minute}, MaxDuration: &metav1.Duration{Duration: time.Hour},
		}
		p.Priority = 1
		p.Usernames = []v1alpha1.Glob{"alice"}
	})
	s.policy("break-glass", func(p *v1alpha1.ShardingUserPolicySpec) {
		p.Lockout = &v1alpha1.LockoutTerms{Mode: v1alpha1.LockoutExempt}
		p.Password = &v1alpha1.PasswordTerms{MinLength: 20}
	})
	leader, standby := s.pair(s.ownLease())
	const long = "a password of thirty characters"
	for _, name := range []string{"alice", "emergency"} {
		s.secret(name, long)
		u := s.readyUser(name, secret(name))
		s.Expect(u.Status.PermittedBy).NotTo(gomega.BeEmpty())
	}

	for round, length := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
		s.fails(leader, "alice", 1)
		s.fails(standby, "alice", 1)
		s.logsIn(leader, "alice", http.StatusUnauthorized)
		var left float64
		s.Expect(s.db.QueryRow(t.Context(), `SELECT extract(epoch FROM locked_until - now())::float8 FROM users WHERE username = 'alice'`).Scan(&left)).
			To(gomega.Succeed(), "round %d", round)
		s.Expect(left).To(gomega.BeNumerically("~", length.Seconds(), 25), "round %d", round)
		s.sql(`UPDATE users SET locked_until = now() - INTERVAL '1 second' WHERE username = 'alice'`)
	}
	s.fails(leader, "emergency", 10)
	s.fails(standby, "emergency", 10)
	status, body := standby.logIn("emergency", long)
	s.Expect(status).To(gomega.Equal(http.StatusOK), body)
}

func TestAdmissionRejectsUsersThatNoPolicyPermits(t *testing.T) {
	s := newStory(t)
	s.installAdmission()
	s.start("--leader-election-namespace=" + systemNamespace)
	s.eventually(soon, func(g gomega.Gomega) { // the index of an earlier story may still be in use
		g.Expect(s.kube.Create(t.Context(), s.resource("before", roles("boss")), client.DryRunAll)).To(gomega.Succeed())
	})
	u := s.readyUser("before", roles("boss"))
	p := s.policy("team", func(p *v1alpha1.ShardingUserPolicySpec) {
		p.Usernames, p.Roles = []v1alpha1.Glob{"team-?", "before"}, []v1alpha1.Glob{"view*", "operator"}
		p.Systems = []v1alpha1.SystemName{"", "billing"}
		p.Password = &v1alpha1.PasswordTerms{MinLength: 12}
		p.DeletionPolicies = []v1alpha1.DeletionPolicy{v1alpha1.DeletionDelete, v1alpha1.DeletionDeactivate}
	})
	other := s.policy("others", func(p *v1alpha1.ShardingUserPolicySpec) {
		p.NamespaceSelector = &v1alpha1.NamespaceSelector{MatchExpressions: []v1alpha1.NamespaceSelectorRequirement{
			{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: []v1alpha1.LabelValue{v1alpha1.LabelValue(s.namespace)}},
		}}
		p.Roles = []v1alpha1.Glob{"*"}
	})
	refused := func(g gomega.Gomega, u *v1alpha1.ShardingUser) string {
		err := s.kube.Create(s.t.Context(), u, client.DryRunAll)
		g.Expect(apierrors.IsForbidden(err)).To(gomega.BeTrue(), "%s: %v", u.Name, err)
		return err.Error()
	}
	s.eventually(time.Minute, func(g gomega.Gomega) { // the API server applies the admission policy with a delay
		g.Expect(refused(g, s.resource("team-ab", roles("viewer")))).To(gomega.ContainSubstring(
			"no ShardingUserPolicy permits namespace " + s.namespace + " the username team-ab with the roles viewer"))
	})
	for _, edits := range [][]edit{
		{roles("viewer", "admin")},
		{username("root")},
		{func(u *v1alpha1.ShardingUser) { u.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned }},
		{secret("x"), hashed},
		{deletion(v1alpha1.DeletionRetain)},
		{ofSystem("orders")},
	} {
		refused(s.WithT, s.resource("team-a", edits...))
	}
	s.Expect(s.kube.Create(t.Context(), s.resource("team-a", roles("viewer", "viewers", "operator"), secret("x"), deletion(v1alpha1.DeletionDeactivate)), client.DryRunAll)).To(gomega.Succeed())

	// An update that requests nothing new is accepted, and so is a deletion. An update that requests less gets a warning.
	s.reports(soon, u, v1alpha1.ReasonNotPermitted)
	s.edit(u, func(u *v1alpha1.ShardingUser) { metav1.SetMetaDataLabel(&u.ObjectMeta, "a", "label") })
	s.edit(u, roles("viewer"))
	s.reports(soon, u, v1alpha1.ReasonSynced)
	s.delete(u)
	s.gone(soon, u)

	// One permitting policy is enough. Without policies everything is permitted.
	second := s.policy("admins", func(p *v1alpha1.ShardingUserPolicySpec) { p.Roles = []v1alpha1.Glob{"admin"} })
	permitted := func() {
		t.Helper()
		s.eventually(soon, func(g gomega.Gomega) {
			g.Expect(s.kube.Create(t.Context(), s.resource("root", roles("admin")), client.DryRunAll)).To(gomega.Succeed())
		})
	}
	permitted()
	s.delete(second)
	s.eventually(soon, func(g gomega.Gomega) { refused(g, s.resource("root", roles("admin"))) })
	s.delete(p)
	s.delete(other)
	permitted()
}

// installAdmission installs config/admission until the test ends.
func (s *story) installAdmission() {
	s.t.Helper()
	tree := filepath.Join(root, "config/admission")
	s.kubectl("apply", "-k", tree)
	s.t.Cleanup(func() {
		if _, err := plane.Kubectl(context.WithoutCancel(s.t.Context()), "delete", "-k", tree); err != nil {
			s.t.Error(err)
		}
	})
}

func TestPoliciesInNamedNamespacesNeedOnlyTheirRole(t *testing.T) {
	s := newStory(t)
	s.installNamespaced(s.turnedOn("namespaced", "policies"))
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.mayMore(tenant)).To(gomega.ConsistOf(all(everywhere, readingPolicies, askingForOthers)))
		g.Expect(s.mayMore(systemNamespace)).To(gomega.ConsistOf(all(readingPolicies, askingForOthers, publishing, leaderElection, announcing)))
	})
	s.policy("viewers", func(p *v1alpha1.ShardingUserPolicySpec) {
		p.NamespaceSelector, p.Roles = selecting(tenant), []v1alpha1.Glob{"viewer"}
	})
	p := s.launchOn(s.dsn, "--leader-elect", "--leader-election-namespace="+systemNamespace, "--watch-namespaces="+tenant).begin(t).ready()
	s.reports(2*soon, s.user("alice", in(tenant), roles("viewer")), v1alpha1.ReasonSynced) // the last leader's lease may have to expire
	s.reports(soon, s.user("bob", in(tenant), roles("admin")), v1alpha1.ReasonNotPermitted)
	s.Expect(s.row("bob")).To(gomega.BeNil())
	s.Expect(s.kubectl("-n", systemNamespace, "get", "configmap", "shardinguser-policies", "-o", "jsonpath={.data.viewers}")).
		To(gomega.ContainSubstring("role ^(?:viewer)$"))
	s.Expect(p.said()).NotTo(gomega.ContainSubstring("forbidden"))
}

// tenantOf returns a client with all rights in a namespace, including the statuses of users.
func (s *story) tenantOf(namespace string) client.Client {
	s.t.Helper()
	account, err := plane.ServiceAccount(s.t.Context(), namespace, "tenant")
	s.Expect(err).NotTo(gomega.HaveOccurred())
	everything := []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}}
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "tenant"}
	s.Expect(s.kube.Create(s.t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: everything})).To(gomega.Succeed())
	s.Expect(s.kube.Create(s.t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "tenant"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "tenant"}},
	})).To(gomega.Succeed())
	tenant, err := client.New(account, client.Options{Scheme: scheme})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	return tenant
}
