// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"net/http"
	"strings"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Policies are the whole cluster's. The operators of a story get only those of the story, so that stories run side by side.

// policyOf is the label of a policy that names the story's namespace.
const policyOf = "test.sharding.io/story"

// ownPolicies narrows each list and watch of policies to those of the story.
func (s *story) ownPolicies(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/shardinguserpolicies") {
			r = r.Clone(r.Context())
			query := r.URL.Query()
			query.Set("labelSelector", policyOf+"="+s.namespace)
			r.URL.RawQuery = query.Encode()
		}
		return next.RoundTrip(r)
	})
}

// policyName is the name of a policy in the cluster, which sorts as the names in the story do.
func (s *story) policyName(name string) string { return name + "." + s.namespace }

// terms changes a policy that is about to be written.
type terms func(*v1alpha1.ShardingUserPolicySpec)

func grants(roles ...v1alpha1.Glob) terms {
	return func(p *v1alpha1.ShardingUserPolicySpec) { p.Roles = roles }
}

func claims(usernames ...v1alpha1.Glob) terms {
	return func(p *v1alpha1.ShardingUserPolicySpec) { p.Usernames = usernames }
}

func where(key string, value v1alpha1.LabelValue) terms {
	return func(p *v1alpha1.ShardingUserPolicySpec) {
		p.NamespaceSelector.MatchLabels = map[string]v1alpha1.LabelValue{key: value}
	}
}

func locking(lockout v1alpha1.LockoutTerms) terms {
	return func(p *v1alpha1.ShardingUserPolicySpec) { p.Lockout = &lockout }
}

func asking(password v1alpha1.PasswordTerms) terms {
	return func(p *v1alpha1.ShardingUserPolicySpec) { p.Password = &password }
}

func before(others int32) terms {
	return func(p *v1alpha1.ShardingUserPolicySpec) { p.Priority = others }
}

// policy creates a policy of the story, for its namespace and any username. It goes with the story.
func (s *story) policy(name string, edits ...terms) *v1alpha1.ShardingUserPolicy {
	s.t.Helper()
	object := metav1.ObjectMeta{Name: s.policyName(name), Labels: map[string]string{policyOf: s.namespace}}
	p := &v1alpha1.ShardingUserPolicy{ObjectMeta: object, Spec: v1alpha1.ShardingUserPolicySpec{
		NamespaceSelector: &v1alpha1.NamespaceSelector{MatchLabels: map[string]v1alpha1.LabelValue{
			corev1.LabelMetadataName: v1alpha1.LabelValue(s.namespace),
		}},
		Usernames: []v1alpha1.Glob{"*"},
	}}
	for _, change := range edits {
		change(&p.Spec)
	}
	s.Expect(s.kube.Create(s.t.Context(), p)).To(gomega.Succeed())
	s.t.Cleanup(func() {
		if err := client.IgnoreNotFound(s.kube.Delete(context.WithoutCancel(s.t.Context()), p)); err != nil {
			s.t.Error(err)
		}
	})
	return p
}

func (s *story) amend(p *v1alpha1.ShardingUserPolicy, edits ...terms) {
	s.t.Helper()
	s.refreshPolicy(p)
	base := p.DeepCopy()
	for _, change := range edits {
		change(&p.Spec)
	}
	s.Expect(s.kube.Patch(s.t.Context(), p, client.MergeFrom(base))).To(gomega.Succeed())
}

func (s *story) refreshPolicy(p *v1alpha1.ShardingUserPolicy) {
	s.t.Helper()
	s.Expect(s.kube.Get(s.t.Context(), client.ObjectKeyFromObject(p), p)).To(gomega.Succeed())
}
