// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// An intruder is a tenant of the namespace mine that attacks the story's namespace.
type intruder struct {
	*story
	tenant client.Client
	mine   string
	victim *v1alpha1.ShardingUser
}

// create creates a user in the intruder's namespace, as the intruder.
func (i *intruder) create(name string, edits ...edit) *v1alpha1.ShardingUser {
	i.t.Helper()
	u := i.resource(name, append([]edit{in(i.mine)}, edits...)...)
	i.Expect(i.tenant.Create(i.t.Context(), u)).To(gomega.Succeed())
	return u
}

// remove deletes a user as the intruder, and waits until it is deleted.
func (i *intruder) remove(u *v1alpha1.ShardingUser) {
	i.t.Helper()
	i.Expect(i.tenant.Delete(i.t.Context(), u)).To(gomega.Succeed())
	i.gone(soon, u)
}

// Not parallel: policies are cluster-wide.
func TestTenantCannotChangeOtherNamespaces(t *testing.T) {
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

	i := &intruder{story: s, tenant: s.tenantOf(mine), mine: mine, victim: victim}
	i.reachesNothing()
	i.staysItself()
	i.getsHoldOfNothing()
	i.readsNoSecret()
	i.takesNoName()

	s.Expect(s.row("victim")).To(gomega.Equal(before))
	s.Expect(s.row("mine-unowned")).To(gomega.Equal(unowned))
	s.Expect(s.kube.Get(t.Context(), key(victim), victim)).To(gomega.Succeed())
	s.Expect(victim.Spec).To(gomega.Equal(seen.Spec))
	s.Expect(victim.Status.Conditions).To(gomega.Equal(seen.Status.Conditions))
	s.Expect(strings.Contains(manager.said(), "panic")).To(gomega.BeFalse())
}

// reachesNothing expects that the intruder cannot read or change another's resources.
func (i *intruder) reachesNothing() {
	i.t.Helper()
	ctx := i.t.Context()
	for what, err := range map[string]error{
		"read":   i.tenant.Get(ctx, key(i.victim), &v1alpha1.ShardingUser{}),
		"delete": i.tenant.Delete(ctx, i.victim.DeepCopy()),
		"status": i.tenant.Status().Patch(ctx, i.victim.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"status":{"locked":true}}`))),
		"secret": i.tenant.Get(ctx, client.ObjectKey{Namespace: i.namespace, Name: "victim"}, &corev1.Secret{}),
		"policy": i.tenant.Create(ctx, &v1alpha1.ShardingUserPolicy{ObjectMeta: metav1.ObjectMeta{Name: "own"}, Spec: v1alpha1.ShardingUserPolicySpec{
			NamespaceSelector: &v1alpha1.NamespaceSelector{}, Usernames: []v1alpha1.Glob{"*"},
		}}),
		"labels": i.tenant.Patch(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: i.namespace}},
			client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"x":"y"}}}`))),
		"index": i.tenant.Patch(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "shardinguser-policies"}},
			client.RawPatch("application/merge-patch+json", []byte(`{"data":{}}`))),
	} {
		i.Expect(apierrors.IsForbidden(err)).To(gomega.BeTrue(), "%s: %v", what, err)
	}
}

// staysItself expects that the intruder may change its namespace's labels, except the label by which policies select tenants.
func (i *intruder) staysItself() {
	i.t.Helper()
	ctx := i.t.Context()
	own := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: i.mine}}
	i.Expect(i.tenant.Patch(ctx, own, client.RawPatch("application/merge-patch+json",
		[]byte(`{"metadata":{"labels":{"kubernetes.io/metadata.name":"`+i.namespace+`"}}}`)))).To(gomega.Succeed())
	i.Expect(own.Labels).To(gomega.HaveKeyWithValue(corev1.LabelMetadataName, i.mine))
}

// getsHoldOfNothing expects that no resource and no forged status gets the account.
func (i *intruder) getsHoldOfNothing() {
	i.t.Helper()
	ctx := i.t.Context()
	for n, edits := range [][]edit{
		{username("victim")},
		{username("victim"), func(u *v1alpha1.ShardingUser) { u.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned }},
		{username("victim"), func(u *v1alpha1.ShardingUser) { u.Spec.DeletionPolicy = v1alpha1.DeletionRetain }},
		{username("mine-unowned"), func(u *v1alpha1.ShardingUser) { u.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned }},
		{username("mine"), roles("admin")},
		{username("mine"), roles("viewer", "viewer-and-more")},
		{username("xmine")},
		{username("MINE")},
	} {
		u := i.create(fmt.Sprintf("try-%d", n), append(edits, func(u *v1alpha1.ShardingUser) {
			u.Annotations = map[string]string{
				v1alpha1.AnnotationUnlockRequestedAt: "now", v1alpha1.AnnotationAllowLastAdministrator: "true",
			}
		})...)
		i.reports(soon, u, v1alpha1.ReasonNotPermitted)

		// A forged status that reports an account and a permission has no effect.
		forged := u.DeepCopy()
		forged.Status.PermittedBy, forged.Status.LastHandledUnlock = "others", "now"
		forged.Status.PasswordChangedTime = new(metav1.Now())
		forged.Status.Conditions[0].Reason, forged.Status.Conditions[0].Status = v1alpha1.ReasonSynced, metav1.ConditionTrue
		i.Expect(i.tenant.Status().Patch(ctx, forged, client.MergeFrom(u))).To(gomega.Succeed())
		i.Expect(i.tenant.Patch(ctx, u, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))).To(gomega.Succeed())
		i.eventually(soon, func(g gomega.Gomega) { // the row is corrected, and the status with it
			g.Expect(i.kube.Get(ctx, key(u), u)).To(gomega.Succeed())
			g.Expect(u.Finalizers).NotTo(gomega.BeEmpty())
			g.Expect(u.Status.PermittedBy).To(gomega.BeEmpty())
		})
		i.remove(u)
	}
}

// readsNoSecret expects that the operator reads no Secret of another namespace for a resource.
func (i *intruder) readsNoSecret() {
	i.t.Helper()
	u := i.create("mine", secret("victim")) // in the other namespace
	i.reports(soon, u, v1alpha1.ReasonSecretNotFound)
	i.Expect(i.row("mine").Hash).To(gomega.Equal("!"))
	i.remove(u)
}

// takesNoName expects that a username stays with its owner.
func (i *intruder) takesNoName() {
	i.t.Helper()
	i.policy("generous", func(p *v1alpha1.ShardingUserPolicySpec) {
		p.NamespaceSelector, p.Roles, p.Adoption = selecting(i.mine), []v1alpha1.Glob{"*"}, v1alpha1.AdoptionAllowed
	})
	u := i.create("second", username("victim"), func(u *v1alpha1.ShardingUser) { u.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned })
	i.reports(soon, u, v1alpha1.ReasonUsernameTaken)
	i.remove(u)
}
