// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"errors"
	"testing"

	"github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/cache"
)

func TestAReaderOfASystemHasItsUsersOnly(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	of := func(system string) edit { return func(u *v1alpha1.ShardingUser) { u.Spec.System = system } }
	alice, bob := s.user("alice"), s.user("bob", of("orders"), func(u *v1alpha1.ShardingUser) { u.Spec.Active = new(bool) })
	s.user("carol", of("orders"))

	orders := cache.ForSystem(s.kube, "orders")
	u := &v1alpha1.ShardingUser{}
	err := orders.Get(t.Context(), client.ObjectKeyFromObject(alice), u)
	s.Expect(apierrors.IsNotFound(err)).To(gomega.BeTrue(), "%v", err)
	var status apierrors.APIStatus
	s.Expect(errors.As(err, &status)).To(gomega.BeTrue())
	s.Expect(status.Status().Details.Name).To(gomega.Equal("alice"))
	s.Expect(u.UID).To(gomega.BeEmpty(), "nothing of it is handed out")
	s.Expect(orders.Get(t.Context(), client.ObjectKeyFromObject(bob), u)).To(gomega.Succeed())

	names := func(system string, options ...client.ListOption) (names []string) {
		var list v1alpha1.ShardingUserList
		s.Expect(cache.ForSystem(s.kube, system).List(t.Context(), &list, append(options, client.InNamespace(s.namespace))...)).To(gomega.Succeed())
		for _, u := range list.Items {
			names = append(names, u.Name)
		}
		return names
	}
	s.Expect(names("")).To(gomega.ConsistOf("alice"))
	s.Expect(names("orders")).To(gomega.ConsistOf("bob", "carol"))
	s.Expect(names("orders", client.MatchingFields{"spec.active": "false"})).To(gomega.ConsistOf("bob"), "with another selector")
	s.Expect(names("billing")).To(gomega.BeEmpty())
	s.Expect(cache.CheckSystem(t.Context(), s.kube, "orders", []string{s.namespace})).To(gomega.Succeed())
}
