// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
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

// Policies are the whole cluster's: none of these stories is parallel.

// policy creates a policy for the story's namespace, which is gone before the next story begins.
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

func TestLockoutOfAPolicyIsThatOfEveryReplica(t *testing.T) {
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

func TestAdmissionRefusesWhatNoPolicyPermits(t *testing.T) {
	s := newStory(t)
	s.installAdmission()
	s.start("--leader-election-namespace=" + systemNamespace)
	s.eventually(soon, func(g gomega.Gomega) { // an earlier story's index may still be there
		g.Expect(s.kube.Create(t.Context(), s.resource("before", roles("boss")), client.DryRunAll)).To(gomega.Succeed())
	})
	u := s.readyUser("before", roles("boss"))
	p := s.policy("team", func(p *v1alpha1.ShardingUserPolicySpec) {
		p.Usernames, p.Roles = []v1alpha1.Glob{"team-?", "before"}, []v1alpha1.Glob{"view*", "operator"}
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
	s.eventually(time.Minute, func(g gomega.Gomega) { // the API server learns of the admission policy in its own time
		g.Expect(refused(g, s.resource("team-ab", roles("viewer")))).To(gomega.ContainSubstring(
			"no ShardingUserPolicy permits namespace " + s.namespace + " the username team-ab with the roles viewer"))
	})
	for _, edits := range [][]edit{
		{roles("viewer", "admin")},
		{username("root")},
		{func(u *v1alpha1.ShardingUser) { u.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned }},
		{secret("x"), hashed},
		{deletion(v1alpha1.DeletionRetain)},
	} {
		refused(s.WithT, s.resource("team-a", edits...))
	}
	s.Expect(s.kube.Create(t.Context(), s.resource("team-a", roles("viewer", "viewers", "operator"), secret("x"), deletion(v1alpha1.DeletionDeactivate)), client.DryRunAll)).To(gomega.Succeed())

	// Who asks for nothing new is let through, and can be deleted; who asks for less is told.
	s.reports(soon, u, v1alpha1.ReasonNotPermitted)
	s.edit(u, func(u *v1alpha1.ShardingUser) { metav1.SetMetaDataLabel(&u.ObjectMeta, "a", "label") })
	s.edit(u, roles("viewer"))
	s.reports(soon, u, v1alpha1.ReasonSynced)
	s.delete(u)
	s.gone(soon, u)

	// A second policy that permits is enough, and without any everything is permitted.
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

func TestPoliciesInNamedNamespacesTakeNoMoreThanTheirOwnRole(t *testing.T) {
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
	s.reports(2*soon, s.user("alice", in(tenant), roles("viewer")), v1alpha1.ReasonSynced) // the last leader's lease may have to run out
	s.reports(soon, s.user("bob", in(tenant), roles("admin")), v1alpha1.ReasonNotPermitted)
	s.Expect(s.row("bob")).To(gomega.BeNil())
	s.Expect(s.kubectl("-n", systemNamespace, "get", "configmap", "shardinguser-policies", "-o", "jsonpath={.data.viewers}")).
		To(gomega.ContainSubstring("role ^(?:viewer)$"))
	s.Expect(p.said()).NotTo(gomega.ContainSubstring("forbidden"))
}

// tenantOf is somebody with all rights that there can be in a namespace, to the statuses of users as well.
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

func TestATenantWithAllRightsInItsNamespaceChangesNoOthers(t *testing.T) {
	s := newStory(t)
	mine := s.newNamespace()
	manager := s.start("--watch-namespaces=" + s.namespace + "," + mine)
	s.policy("others", func(p *v1alpha1.ShardingUserPolicySpec) { p.Roles = []v1alpha1.Glob{"*"} })
	s.policy("mine", func(p *v1alpha1.ShardingUserPolicySpec) {
		p.NamespaceSelector, p.Usernames = selecting(mine), []v1alpha1.Glob{"mine*"}
		p.Roles = []v1alpha1.Glob{"viewer"}
	})
	s.secret("victim", aHash)
	victim := s.readyUser("victim", secret("victim"), hashed, roles("admin", "operator"))
	s.sql(`INSERT INTO users (username, password_hash, roles) VALUES ('mine-unowned', 'of another program', '["admin"]')`)
	s.sql(`UPDATE users SET failed_login_attempts = 3, last_login_at = now() WHERE username = 'victim'`)
	before, unowned := s.row("victim"), s.row("mine-unowned")
	seen := victim.DeepCopy()

	tenant := s.tenantOf(mine)
	ctx := t.Context()
	create := func(name string, edits ...edit) *v1alpha1.ShardingUser {
		t.Helper()
		u := s.resource(name, append([]edit{in(mine)}, edits...)...)
		s.Expect(tenant.Create(ctx, u)).To(gomega.Succeed())
		return u
	}
	// What is another's cannot be reached.
	for what, err := range map[string]error{
		"read":   tenant.Get(ctx, key(victim), &v1alpha1.ShardingUser{}),
		"delete": tenant.Delete(ctx, victim.DeepCopy()),
		"status": tenant.Status().Patch(ctx, victim.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"status":{"locked":true}}`))),
		"secret": tenant.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: "victim"}, &corev1.Secret{}),
		"policy": tenant.Create(ctx, &v1alpha1.ShardingUserPolicy{ObjectMeta: metav1.ObjectMeta{Name: "own"}, Spec: v1alpha1.ShardingUserPolicySpec{
			NamespaceSelector: &v1alpha1.NamespaceSelector{}, Usernames: []v1alpha1.Glob{"*"},
		}}),
		"labels": tenant.Patch(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}},
			client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"x":"y"}}}`))),
		"index": tenant.Patch(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "shardinguser-policies"}},
			client.RawPatch("application/merge-patch+json", []byte(`{"data":{}}`))),
	} {
		s.Expect(apierrors.IsForbidden(err)).To(gomega.BeTrue(), "%s: %v", what, err)
	}

	// Of its own namespace it may change the labels, but for the one by which policies are to tell tenants apart.
	own := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: mine}}
	s.Expect(tenant.Patch(ctx, own, client.RawPatch("application/merge-patch+json",
		[]byte(`{"metadata":{"labels":{"kubernetes.io/metadata.name":"`+s.namespace+`"}}}`)))).To(gomega.Succeed())
	s.Expect(own.Labels).To(gomega.HaveKeyWithValue(corev1.LabelMetadataName, mine))

	// No resource gets hold of it.
	for i, edits := range [][]edit{
		{username("victim")},
		{username("victim"), func(u *v1alpha1.ShardingUser) { u.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned }},
		{username("victim"), func(u *v1alpha1.ShardingUser) { u.Spec.DeletionPolicy = v1alpha1.DeletionRetain }},
		{username("mine-unowned"), func(u *v1alpha1.ShardingUser) { u.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned }},
		{username("mine"), roles("admin")},
		{username("mine"), roles("viewer", "viewer-and-more")},
		{username("xmine")},
		{username("MINE")},
	} {
		u := create(fmt.Sprintf("try-%d", i), append(edits, func(u *v1alpha1.ShardingUser) {
			u.Annotations = map[string]string{
				v1alpha1.AnnotationUnlockRequestedAt: "now", v1alpha1.AnnotationAllowLastAdministrator: "true",
			}
		})...)
		s.reports(soon, u, v1alpha1.ReasonNotPermitted)

		// A status that tells of an account, and of a permission, is believed by nobody.
		forged := u.DeepCopy()
		forged.Status.PermittedBy, forged.Status.LastHandledUnlock = "others", "now"
		forged.Status.PasswordChangedTime = new(metav1.Now())
		forged.Status.Conditions[0].Reason, forged.Status.Conditions[0].Status = v1alpha1.ReasonSynced, metav1.ConditionTrue
		s.Expect(tenant.Status().Patch(ctx, forged, client.MergeFrom(u))).To(gomega.Succeed())
		s.Expect(tenant.Patch(ctx, u, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))).To(gomega.Succeed())
		s.eventually(soon, func(g gomega.Gomega) { // it is put back, and the status with it
			g.Expect(s.kube.Get(ctx, key(u), u)).To(gomega.Succeed())
			g.Expect(u.Finalizers).NotTo(gomega.BeEmpty())
			g.Expect(u.Status.PermittedBy).To(gomega.BeEmpty())
		})
		s.Expect(tenant.Delete(ctx, u)).To(gomega.Succeed())
		s.gone(soon, u)
	}

	// Its Secrets are its own.
	u := create("mine", secret("victim")) // which is in the other namespace
	s.reports(soon, u, v1alpha1.ReasonSecretNotFound)
	s.Expect(s.row("mine").Hash).To(gomega.Equal("!"))
	s.Expect(tenant.Delete(ctx, u)).To(gomega.Succeed())
	s.gone(soon, u)

	// A name that is taken stays whose it is.
	s.policy("generous", func(p *v1alpha1.ShardingUserPolicySpec) {
		p.NamespaceSelector, p.Roles, p.Adoption = selecting(mine), []v1alpha1.Glob{"*"}, v1alpha1.AdoptionAllowed
	})
	u = create("second", username("victim"), func(u *v1alpha1.ShardingUser) { u.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned })
	s.reports(soon, u, v1alpha1.ReasonUsernameTaken)
	s.Expect(tenant.Delete(ctx, u)).To(gomega.Succeed())
	s.gone(soon, u)

	s.Expect(s.row("victim")).To(gomega.Equal(before))
	s.Expect(s.row("mine-unowned")).To(gomega.Equal(unowned))
	s.Expect(s.kube.Get(ctx, key(victim), victim)).To(gomega.Succeed())
	s.Expect(victim.Spec).To(gomega.Equal(seen.Spec))
	s.Expect(victim.Status.Conditions).To(gomega.Equal(seen.Status.Conditions))
	s.Expect(strings.Contains(manager.said(), "panic")).To(gomega.BeFalse())
}
