// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"strings"
	"testing"

	"github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

func TestValuesOfRights(t *testing.T) {
	t.Parallel()
	cases{
		"each watched namespace has a Role instead of a ClusterRole": {
			"watchNamespaces: [team-a, team-b]",
			func(m made) {
				m.Expect(m.objects).To(gomega.HaveKey("RoleBinding team-a/shardinguser-manager"))
				m.Expect(m.objects).To(gomega.HaveKey("RoleBinding team-b/shardinguser-manager"))
				m.Expect(m.flags()).To(gomega.And(
					gomega.HaveKeyWithValue("watch-namespaces", "team-a,team-b"), gomega.HaveKeyWithValue("policies", "off")))
				for name := range m.objects {
					if strings.HasPrefix(name, "ClusterRole ") {
						for _, rule := range get[rbacv1.ClusterRole](m.t, m.objects, name).Rules {
							m.Expect(rule.Resources).NotTo(gomega.ContainElement("secrets"), name)
						}
					}
				}
			},
		},
		"an unquoted off means no password": {
			"defaultUsers: {passwords: off}",
			func(m made) {
				m.Expect(m.flags()).NotTo(gomega.HaveKey("default-users"))
			},
		},
		"default users in another namespace have a Role there": {
			"defaultUsers: {passwords: generated, namespace: people}",
			func(m made) {
				m.Expect(m.flags()).To(gomega.HaveKeyWithValue("default-users-namespace", "people"))
				m.Expect(m.objects).To(gomega.HaveKey("Role people/shardinguser-default-users-role"))
			},
		},
		"default users can adopt the sharding manager's accounts": {
			"defaultUsers: {passwords: generated, takeOver: true}",
			func(m made) {
				m.Expect(m.flags()).To(gomega.HaveKeyWithValue("default-users-take-over", "on"))
			},
		},
		"no role at all can be protected": {
			"protectedRoles: []",
			func(m made) {
				m.Expect(m.flags()).To(gomega.HaveKeyWithValue("protected-roles", ""))
			},
		},
		"the operator only reads Secrets": {
			"{}",
			func(m made) {
				m.Expect(secretsVerbs(get[rbacv1.ClusterRole](m.t, m.objects, "ClusterRole shardinguser-manager-role").Rules)).
					To(gomega.Equal([]string{"get", "list", "watch"}))
				for name := range m.objects {
					m.Expect(name).NotTo(gomega.ContainSubstring("generated-passwords"))
				}
			},
		},
		"and so in watched namespaces, but for what is turned on": {
			"{generatedPasswords: {enabled: true}, watchNamespaces: [team-a, team-b], defaultUsers: {passwords: generated}}",
			func(m made) {
				for _, namespace := range []string{"team-a", "team-b"} {
					m.Expect(secretsVerbs(get[rbacv1.Role](m.t, m.objects, "Role "+namespace+"/shardinguser-manager").Rules)).
						To(gomega.Equal([]string{"get", "list", "watch"}))
					m.Expect(secretsVerbs(get[rbacv1.Role](m.t, m.objects, "Role "+namespace+"/shardinguser-generated-passwords").Rules)).
						To(gomega.Equal([]string{"create", "patch"}))
				}
				m.Expect(secretsVerbs(get[rbacv1.Role](m.t, m.objects, "Role team-a/shardinguser-default-users").Rules)).
					To(gomega.Equal([]string{"create"}))
			},
		},
		"the fence names the account and namespace of the release": {
			"{serviceAccount: {name: theirs}, defaultUsers: {passwords: generated, namespace: people}}",
			func(m made) {
				fence := get[admissionv1.ValidatingAdmissionPolicy](m.t, m.objects, "ValidatingAdmissionPolicy shardinguser-secrets.sharding.io").Spec
				m.Expect(fence.MatchConditions[0].Expression).To(gomega.Equal("request.userInfo.username == 'system:serviceaccount:" + system + ":theirs'"))
				m.Expect(fence.Variables[0].Expression).To(gomega.Equal("'people'"))
			},
		},
		"scrapers get the right to read": {
			"metrics: {readers: [{namespace: monitoring, name: prometheus-k8s}]}",
			func(m made) {
				binding := get[rbacv1.ClusterRoleBinding](m.t, m.objects, "ClusterRoleBinding shardinguser-metrics-reader")
				m.Expect(binding.Subjects).To(gomega.ConsistOf(rbacv1.Subject{Kind: "ServiceAccount", Namespace: "monitoring", Name: "prometheus-k8s"}))
			},
		},
	}.check(t)
}
