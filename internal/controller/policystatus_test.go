// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/policies"
	"github.com/sharding-system/shardinguser-operator/internal/policy"
)

func TestPolicyIsReadyAndAllOfThemArePublished(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	p := s.policy("team-a", claims("team-a.*"), grants("viewer"))
	other := s.policy("team-b", where("team", "b"))
	index := func() map[string]string {
		published := &corev1.ConfigMap{}
		if err := s.kube.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: policies.IndexName}, published); err != nil {
			return map[string]string{"": err.Error()}
		}
		return published.Data
	}
	s.eventually(func(g gomega.Gomega) {
		for _, p := range []*v1alpha1.ShardingUserPolicy{p, other} {
			s.refreshPolicy(p)
			ready := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady)
			g.Expect(ready).NotTo(gomega.BeNil())
			g.Expect(ready.Reason).To(gomega.Equal(v1alpha1.ReasonAccepted))
			g.Expect(p.Status.ObservedGeneration).To(gomega.Equal(p.Generation))
		}
		g.Expect(index()).To(gomega.Equal(policy.Index([]v1alpha1.ShardingUserPolicy{*p, *other})))
	})
	s.remove(other)
	s.amend(p, claims("team-a.*", "shared"))
	s.eventually(func(g gomega.Gomega) {
		g.Expect(index()).To(gomega.Equal(policy.Index([]v1alpha1.ShardingUserPolicy{*p})))
	})
	s.remove(p)
	s.eventually(func(g gomega.Gomega) { g.Expect(index()).To(gomega.BeEmpty()) })
}

func TestPoliciesThatNoConfigMapHoldsAreNotPublished(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	index := func(g gomega.Gomega) map[string]string {
		published := &corev1.ConfigMap{}
		g.Expect(s.kube.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: policies.IndexName}, published)).To(gomega.Succeed())
		return published.Data
	}
	s.policy("first")
	s.eventually(func(g gomega.Gomega) { g.Expect(index(g)).To(gomega.HaveLen(1)) })
	long := make([]v1alpha1.Glob, 64)
	for i := range long {
		long[i] = v1alpha1.Glob(fmt.Sprintf("%02d%s", i, strings.Repeat(".", 253))) // each dot is two bytes in the index
	}
	for i := range 24 {
		s.policy(fmt.Sprintf("long-%02d", i), claims(long...), grants(long...))
	}
	s.eventually(func(g gomega.Gomega) {
		g.Expect(index(g)).To(gomega.BeEmpty(), "an old one would refuse what is permitted by now")
	})
	s.readyUser("alice")
}
