// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"testing"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
)

func TestValuesOfMounts(t *testing.T) {
	t.Parallel()
	cases{
		"one key of a Secret is mounted, and no other": {
			"database: {existingSecret: accounts, key: url}",
			func(m made) {
				m.Expect(m.volume("database")).To(gomega.Equal(secretVolume("accounts", "url", "dsn")))
			},
		},
		"a CloudNativePG Cluster gives a DSN, a CA and verify-full": {
			"database: {cloudNativePG: {cluster: accounts}}",
			func(m made) {
				m.Expect(m.volume("database")).To(gomega.Equal(secretVolume("accounts-app", "uri", "dsn")))
				m.Expect(m.volume("database-ca")).To(gomega.Equal(secretVolume("accounts-ca", "ca.crt", "ca.crt")))
				m.Expect(m.environment()).To(gomega.And(gomega.HaveKeyWithValue("PGSSLMODE", "verify-full"),
					gomega.HaveKeyWithValue("PGSSLROOTCERT", "/etc/shardinguser/database-ca/ca.crt")))
			},
		},
		"how it is verified can be said": {
			"database: {cloudNativePG: {cluster: accounts, key: fqdn-uri}, tls: {mode: require, caSecret: other, caKey: root.pem}}",
			func(m made) {
				m.Expect(m.volume("database")).To(gomega.Equal(secretVolume("accounts-app", "fqdn-uri", "dsn")))
				m.Expect(m.volume("database-ca")).To(gomega.Equal(secretVolume("other", "root.pem", "ca.crt")))
				m.Expect(m.environment()).To(gomega.HaveKeyWithValue("PGSSLMODE", "require"))
			},
		},
		"a DSN for notifications and a secret for tokens are mounted": {
			"{listenDatabase: {existingSecret: direct}, login: {jwt: {existingSecret: signing, key: k}}}",
			func(m made) {
				m.Expect(m.volume("listen-database")).To(gomega.Equal(secretVolume("direct", "dsn", "dsn")))
				m.Expect(m.volume("jwt")).To(gomega.Equal(secretVolume("signing", "k", "secret")))
				m.Expect(m.flags()).To(gomega.And(
					gomega.HaveKeyWithValue("listen-dsn-file", "/etc/shardinguser/listen-database/dsn"),
					gomega.HaveKeyWithValue("jwt-secret-file", "/etc/shardinguser/jwt/secret"),
					gomega.Not(gomega.HaveKey("jwt-previous-secret-file"))))
			},
		},
		"a previous secret for tokens is accepted until its end": {
			"login: {jwt: {existingSecret: signing, previousKey: before, previousUntil: '2027-01-31T00:00:00Z'}}",
			func(m made) {
				m.Expect(m.flags()).To(gomega.And(
					gomega.HaveKeyWithValue("jwt-previous-secret-file", "/etc/shardinguser/jwt/previous"),
					gomega.HaveKeyWithValue("jwt-previous-secret-until", "2027-01-31T00:00:00Z")))
				m.Expect(m.volume("jwt").Secret.Items).To(gomega.ConsistOf(
					corev1.KeyToPath{Key: "secret", Path: "secret"}, corev1.KeyToPath{Key: "before", Path: "previous"}))
			},
		},
		"the operator can do without the trigger on the table": {
			"notifications: {enabled: false}",
			func(m made) {
				m.Expect(m.flags()).To(gomega.HaveKeyWithValue("notifications", "off"))
			},
		},
		"the login API has the certificate of a Secret": {
			"login: {tls: {existingSecret: mine}}",
			func(m made) {
				m.Expect(m.volume("login-tls").Secret.SecretName).To(gomega.Equal("mine"))
				m.Expect(m.flags()).To(gomega.HaveKeyWithValue("login-tls-cert-dir", "/etc/shardinguser/login-tls"))
			},
		},
		"or one of cert-manager's, for the names of its Service": {
			"login: {tls: {certManager: {enabled: true, issuerRef: {name: internal}, dnsNames: [login.example.com]}}}",
			func(m made) {
				spec := m.objects["Certificate "+system+"/shardinguser-controller-manager-login"].Object["spec"].(map[string]any)
				m.Expect(m.volume("login-tls").Secret.SecretName).To(gomega.Equal(spec["secretName"]))
				m.Expect(spec["dnsNames"]).To(gomega.ContainElements("shardinguser-controller-manager-login."+system+".svc", "login.example.com"))
				m.Expect(spec["issuerRef"]).To(gomega.HaveKeyWithValue("name", "internal"))
			},
		},
	}.check(t)
}
