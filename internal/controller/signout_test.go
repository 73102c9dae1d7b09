// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"testing"
	"time"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

func TestASignOutIsHandledOnceForEachValue(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	alice := s.readyUser("alice")
	handled := func(value string) time.Time {
		t.Helper()
		s.edit(alice, func(u *v1alpha1.ShardingUser) {
			if u.Annotations == nil {
				u.Annotations = map[string]string{}
			}
			u.Annotations[v1alpha1.AnnotationSignOutRequestedAt] = value
		})
		s.eventually(func(g gomega.Gomega) {
			s.refresh(alice)
			g.Expect(alice.Status.LastHandledSignOut).To(gomega.Equal(value))
		})
		var at time.Time
		s.Expect(s.db.QueryRow(t.Context(), "SELECT signed_out_at FROM shardinguser_ownership WHERE username = 'alice'").Scan(&at)).To(gomega.Succeed())
		s.Expect(alice.Status.SignedOutTime.Time).To(gomega.BeTemporally("==", at))
		return at
	}
	s.Expect(alice.Status.SignedOutTime).To(gomega.BeNil())
	first := handled("a")
	second := handled("b")
	s.Expect(second).To(gomega.BeTemporally(">", first))
	s.Expect(handled("a")).To(gomega.BeTemporally(">", second))
	s.edit(alice, func(u *v1alpha1.ShardingUser) { u.Spec.Roles = []v1alpha1.Role{"viewer"} })
	s.ready(alice)
	s.Expect(alice.Status.LastHandledSignOut).To(gomega.Equal("a"))
	s.told("alice", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventSignedOut: 3, v1alpha1.EventUpdated: 1})
}
