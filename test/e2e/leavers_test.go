// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"
	"time"

	"github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// aMinuteLater is the time until a leaver's account is inactive: within a minute, on a machine that is busy with other tests.
const aMinuteLater = 90 * time.Second

func TestAccountsOfATenantThatLeavesAreDeactivated(t *testing.T) {
	s := newStory(t)
	mine := s.newNamespace()
	s.start("--watch-namespaces=" + s.namespace + "," + mine)
	s.policy("others", func(p *v1alpha1.ShardingUserPolicySpec) { p.Roles = []v1alpha1.Glob{"*"} })
	p := s.policy("mine", func(p *v1alpha1.ShardingUserPolicySpec) {
		p.NamespaceSelector, p.Usernames = selecting(mine), []v1alpha1.Glob{"mine*"}
		p.Roles = []v1alpha1.Glob{"viewer"}
	})
	tenant := s.tenantOf(mine)
	create := func(name string, edits ...edit) *v1alpha1.ShardingUser {
		t.Helper()
		u := s.resource(name, append([]edit{in(mine), roles("viewer")}, edits...)...)
		s.Expect(tenant.Create(t.Context(), u)).To(gomega.Succeed())
		s.reports(soon, u, v1alpha1.ReasonSynced)
		return u
	}
	patch := func(u *v1alpha1.ShardingUser, body string) {
		t.Helper()
		s.Expect(tenant.Patch(t.Context(), u, client.RawPatch(merge, []byte(body)))).To(gomega.Succeed())
	}
	remove := func(u *v1alpha1.ShardingUser) {
		t.Helper()
		s.Expect(tenant.Delete(t.Context(), u)).To(gomega.Succeed())
		s.gone(soon, u)
	}
	retained := s.readyUser("retained", roles("operator"), deletion(v1alpha1.DeletionRetain))
	s.delete(retained)
	s.gone(soon, retained)
	kept := create("mine-kept", deletion(v1alpha1.DeletionRetain))
	remove(kept) // deleted while a policy permitted it
	s.Expect(s.row("mine-kept").Active).To(gomega.BeTrue())
	retains, strips := create("mine-retains"), create("mine-strips")

	s.Expect(s.kube.Get(t.Context(), key(p), p)).To(gomega.Succeed())
	p.Spec.DeletionPolicies = []v1alpha1.DeletionPolicy{v1alpha1.DeletionDelete, v1alpha1.DeletionDeactivate}
	s.Expect(s.kube.Update(t.Context(), p)).To(gomega.Succeed())
	patch(retains, `{"spec":{"deletionPolicy":"Retain"}}`)
	remove(retains)
	s.Expect(s.row("mine-retains").Active).To(gomega.BeFalse())

	// A paused deletion waits, and does not prevent the removal of the finalizer.
	patch(strips, `{"metadata":{"annotations":{"`+v1alpha1.AnnotationPaused+`":"true"}}}`)
	s.reports(soon, strips, v1alpha1.ReasonPaused)
	s.Expect(tenant.Delete(t.Context(), strips)).To(gomega.Succeed())
	forged := strips.DeepCopy()
	forged.Status.PermittedBy, forged.Status.Conditions[0].Reason = "others", v1alpha1.ReasonSynced
	forged.Status.Conditions[0].Status = metav1.ConditionTrue
	s.Expect(tenant.Status().Patch(t.Context(), forged, client.MergeFrom(strips))).To(gomega.Succeed())
	patch(strips, `{"metadata":{"finalizers":null}}`)
	s.gone(soon, strips)
	s.Expect(s.row("mine-strips").Active).To(gomega.BeTrue())

	s.eventually(aMinuteLater, func(g gomega.Gomega) {
		for _, r := range s.rows() {
			g.Expect(r.Active).To(gomega.Equal(r.Username == "retained"), r.Username)
		}
	})
	create("mine-strips")
	s.Expect(s.row("mine-strips").Active).To(gomega.BeTrue(), "a tenant that returns has its account again")
}
