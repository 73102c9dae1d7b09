// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// made is what the chart makes of some values.
type made struct {
	*gomega.WithT
	objects
	t *testing.T
}

// What config/ has no twin of: see there for everything else.
func TestValuesSayWhatIsMade(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		values string
		check  func(m made)
	}{
		"one key of a Secret is mounted, and no other": {
			"database: {existingSecret: accounts, key: url}",
			func(m made) {
				m.Expect(m.volume("database")).To(gomega.Equal(secretVolume("accounts", "url", "dsn")))
			},
		},
		"a Cluster of CloudNativePG is a DSN, an authority and verify-full": {
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
		"each watched namespace has a Role, and no ClusterRole reads Secrets": {
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
		"the log-in API has the certificate of a Secret": {
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
		"what is turned off leaves nothing behind": {
			"{login: {enabled: false}, metrics: {enabled: false}, rbac: {create: false, forPeople: false}, " +
				"serviceAccount: {create: false, name: theirs}, crds: {enabled: false}, database: {inMemory: true}}",
			func(m made) {
				m.Expect(m.objects).To(gomega.HaveLen(1))
				pod := get[appsv1.Deployment](m.t, m.objects, deploymentName).Spec.Template.Spec
				m.Expect(pod.ServiceAccountName).To(gomega.Equal("theirs"))
				m.Expect(pod.Volumes).To(gomega.BeEmpty())
				m.Expect(m.flags()).To(gomega.And(gomega.HaveKeyWithValue("login-bind-address", "0"),
					gomega.HaveKeyWithValue("metrics-bind-address", "0"), gomega.Not(gomega.HaveKey("user-database-dsn-file"))))
				m.Expect(manager(m.t, m.objects).Ports).To(gomega.ConsistOf(gomega.HaveField("Name", "health")))
			},
		},
		"an unquoted off is no password": {
			"defaultUsers: {passwords: off}",
			func(m made) {
				m.Expect(m.flags()).NotTo(gomega.HaveKey("default-users"))
			},
		},
		"default users can live elsewhere, with the right to make them there": {
			"defaultUsers: {passwords: generated, namespace: people}",
			func(m made) {
				m.Expect(m.flags()).To(gomega.HaveKeyWithValue("default-users-namespace", "people"))
				m.Expect(m.objects).To(gomega.HaveKey("Role people/shardinguser-default-users-role"))
			},
		},
		"default users can take over what the sharding manager inserted": {
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
		"the fence is about the account and the namespace of the release": {
			"{serviceAccount: {name: theirs}, defaultUsers: {passwords: generated, namespace: people}}",
			func(m made) {
				fence := get[admissionv1.ValidatingAdmissionPolicy](m.t, m.objects, "ValidatingAdmissionPolicy shardinguser-secrets.sharding.io").Spec
				m.Expect(fence.MatchConditions[0].Expression).To(gomega.Equal("request.userInfo.username == 'system:serviceaccount:" + system + ":theirs'"))
				m.Expect(fence.Variables[0].Expression).To(gomega.Equal("'people'"))
			},
		},
		"replicas share out what the lockout allows while the database is unavailable": {
			"replicas: 2",
			func(m made) {
				m.Expect(m.flags()).To(gomega.HaveKeyWithValue("fallback-attempts", "2"))
				for content, want := range map[string]string{
					"{replicas: 3}": "1", "{replicas: 4}": "1", "{replicas: 9}": "1", "{replicas: 2, lockout: {attempts: 9}}": "4",
					"{replicas: 3, login: {fallback: {attempts: 4}}}": "4", "{replicas: 1}": "", "{replicas: 3, login: {fallback: {attempts: 0}}}": "",
					"{replicas: 3, login: {fallback: {enabled: false}}}": "",
				} {
					other := made{WithT: m.WithT, t: m.t, objects: render(m.t, "--values="+values(m.t, content))}
					m.Expect(other.flags()["fallback-attempts"]).To(gomega.Equal(want), content)
				}
			},
		},
		"traces go to a collector, as many as one says": {
			"tracing: {enabled: true, endpoint: 'http://collector:4318', sampler: parentbased_traceidratio, samplerArgument: 0}",
			func(m made) {
				m.Expect(m.flags()).To(gomega.HaveKeyWithValue("tracing", "on"))
				m.Expect(m.environment()).To(gomega.And(gomega.HaveKeyWithValue("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
					gomega.HaveKeyWithValue("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), gomega.HaveKeyWithValue("OTEL_TRACES_SAMPLER_ARG", "0")))
			},
		},
		"what is scraped is the metrics, and not the log-in API besides": {
			"monitoring: {serviceMonitor: {enabled: true}}",
			func(m made) {
				selector, _, err := unstructured.NestedStringMap(m.objects["ServiceMonitor "+system+"/shardinguser-controller-manager-metrics-monitor"].Object,
					"spec", "selector", "matchLabels")
				m.Expect(err).NotTo(gomega.HaveOccurred())
				var scraped []string
				for name, o := range m.objects {
					if o.GetKind() == "Service" && labels.SelectorFromSet(selector).Matches(labels.Set(o.GetLabels())) {
						scraped = append(scraped, name)
					}
				}
				m.Expect(scraped).To(gomega.ConsistOf("Service " + system + "/shardinguser-controller-manager-metrics-service"))
			},
		},
		"a roll-out takes no replica away before another one is ready": {
			"replicas: 4",
			func(m made) {
				strategy := get[appsv1.Deployment](m.t, m.objects, deploymentName).Spec.Strategy
				m.Expect(strategy.RollingUpdate.MaxUnavailable.IntValue()).To(gomega.BeZero())
			},
		},
		"several replicas have a budget": {
			"{replicas: 3, podDisruptionBudget: {enabled: true, maxUnavailable: 34%}}",
			func(m made) {
				budget := get[policyv1.PodDisruptionBudget](m.t, m.objects, "PodDisruptionBudget "+system+"/shardinguser-controller-manager")
				pods := get[appsv1.Deployment](m.t, m.objects, deploymentName)
				m.Expect(budget.Spec.MaxUnavailable.String()).To(gomega.Equal("34%"))
				m.Expect(budget.Spec.Selector).To(gomega.Equal(pods.Spec.Selector))
				m.Expect(*pods.Spec.Replicas).To(gomega.BeEquivalentTo(3))
			},
		},
		"gateways are let in from where one says": {
			"networkPolicy: {enabled: true, loginFrom: {kubernetes.io/metadata.name: edge}}",
			func(m made) {
				policy := get[networkingv1.NetworkPolicy](m.t, m.objects, "NetworkPolicy "+system+"/shardinguser-allow-login-traffic")
				m.Expect(policy.Spec.Ingress[0].From[0].NamespaceSelector.MatchLabels).To(gomega.HaveKeyWithValue("kubernetes.io/metadata.name", "edge"))
			},
		},
		"scrapers get the right to read": {
			"metrics: {readers: [{namespace: monitoring, name: prometheus-k8s}]}",
			func(m made) {
				binding := get[rbacv1.ClusterRoleBinding](m.t, m.objects, "ClusterRoleBinding shardinguser-metrics-reader")
				m.Expect(binding.Subjects).To(gomega.ConsistOf(rbacv1.Subject{Kind: "ServiceAccount", Namespace: "monitoring", Name: "prometheus-k8s"}))
			},
		},
		"CRDs are kept, unless one says otherwise": {
			"crds: {keep: false}",
			func(m made) {
				const name = "CustomResourceDefinition shardingusers.sharding.io"
				m.Expect(get[apiextensionsv1.CustomResourceDefinition](m.t, m.objects, name).Annotations).NotTo(gomega.HaveKey("helm.sh/resource-policy"))
				m.Expect(get[apiextensionsv1.CustomResourceDefinition](t, render(m.t), name).Annotations).
					To(gomega.HaveKeyWithValue("helm.sh/resource-policy", "keep"))
			},
		},
		"an image is told by its digest before its tag": {
			"image: {repository: r/i, tag: v1, digest: 'sha256:" + strings.Repeat("0a", 32) + "'}",
			func(m made) {
				m.Expect(manager(m.t, m.objects).Image).To(gomega.Equal("r/i@sha256:" + strings.Repeat("0a", 32)))
			},
		},
		"more arguments come last": {
			"{extraArgs: [--lockout-attempts=9], lockout: {attempts: 3}}",
			func(m made) {
				m.Expect(m.flags()).To(gomega.HaveKeyWithValue("lockout-attempts", "9"))
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.check(made{WithT: gomega.NewWithT(t), t: t, objects: render(t, "--values="+values(t, test.values))})
		})
	}
}

func TestValuesThatMeanNothingAreRefusedWithASentence(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]string{
		"replica=2":                                                    "additional properties 'replica' not allowed",
		"database.dsn=postgres://u:p@h/d":                              "additional properties 'dsn' not allowed",
		"database.existingSecret=":                                     "name the Secret with the DSN, or set database.cloudNativePG.cluster or database.inMemory",
		"database.tls.mode=verify":                                     "value must be one of",
		"lockout.duration=15":                                          "got number, want string",
		"lockout.attempts=0":                                           "minimum: got 0, want 1",
		"watchNamespaces={Team_A}":                                     "does not match pattern",
		"extraArgs={bcrypt-cost=12}":                                   "does not match pattern",
		"podDisruptionBudget.enabled=true":                             "set replicas to 2 or more",
		"login.tls.certManager.enabled=true":                           "name the Issuer that signs the certificate",
		"serviceAccount.create=false":                                  "name the ServiceAccount that is to be used",
		"policies.enabled=false,admission.enabled=true":                "it decides by policies, which are off",
		"metrics.enabled=false,monitoring.serviceMonitor.enabled=true": "there is nothing to scrape",
		"metrics.enabled=false,monitoring.prometheusRule.enabled=true": "would count as down",
		"defaultUsers.passwords=admin123":                              "value must be one of",
		"watchNamespaces={a},defaultUsers.passwords=generated,defaultUsers.namespace=b": "b is not one of watchNamespaces",
		"defaultUsers.takeOver=true":                                 "accounts can only be adopted with generated passwords",
		"defaultUsers.passwords=sharding,defaultUsers.takeOver=true": "accounts can only be adopted with generated passwords",
		"image.digest=latest":                                        "does not match pattern",
		"tracing.enabled=true":                                       "say where the collector is",
		"tracing.enabled=true,tracing.endpoint=collector:4318":       "does not match pattern",
	} {
		said := helmRefuses(t, "template", release, chartFolder, "--set="+setting)
		if !strings.Contains(said, want) {
			t.Errorf("--set=%s: %s; want %q in it", setting, said, want)
		}
	}
}

func TestEveryExampleIsLintedAndStartsTheManagerWithFlagsItHas(t *testing.T) {
	t.Parallel()
	flags := defaults(t)
	for _, file := range examples(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			helm(t, "lint", "--strict", "--quiet", "--values="+file, chartFolder)
			made := parse(t, helm(t, "template", "other", chartFolder, "--namespace=elsewhere", "--values="+file))
			deployments := 0
			for name := range made {
				if !strings.HasPrefix(name, "Deployment ") {
					continue
				}
				deployments++
				for flag := range flagsOf(get[appsv1.Deployment](t, made, name).Spec.Template.Spec.Containers[0].Args) {
					if _, known := flags[flag]; !known {
						t.Errorf("the manager has no flag --%s", flag)
					}
				}
			}
			if deployments != 1 {
				t.Errorf("there are %d Deployments", deployments)
			}
		})
	}
}

// As a dependency that a parent chart turns on, with values for all its charts.
func TestTheChartCanBePartOfAnother(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	g := gomega.NewWithT(t)
	g.Expect(os.CopyFS(filepath.Join(parent, "charts", "shardinguser-operator"), os.DirFS(filepath.Join(root, chartFolder)))).To(gomega.Succeed())
	for name, content := range map[string]string{
		"Chart.yaml": "{apiVersion: v2, name: platform, version: 0.1.0, dependencies: " +
			"[{name: shardinguser-operator, version: '>=0-0', condition: shardinguser-operator.enabled}]}",
		"values.yaml": "{global: {region: north}, shardinguser-operator: {enabled: true, fullnameOverride: shardinguser}}",
	} {
		g.Expect(os.WriteFile(filepath.Join(parent, name), []byte(content), 0o600)).To(gomega.Succeed())
	}
	g.Expect(parse(t, helm(t, "template", "platform", parent, "--namespace="+system))).To(gomega.HaveKey(deploymentName))
	g.Expect(parse(t, helm(t, "template", "platform", parent, "--set=shardinguser-operator.enabled=false"))).To(gomega.BeEmpty())
}

// What names the release's namespace, or one of the chart's own objects, has to follow the release.
func TestNothingOfAnotherReleaseNamesTheDefaultOne(t *testing.T) {
	t.Parallel()
	all := filepath.Join(root, chartFolder, "ci", "everything-values.yaml")
	manifests := helm(t, "template", "other", chartFolder, "--namespace=elsewhere", "--values="+all)
	notes := helm(t, "install", "other", chartFolder, "--namespace=elsewhere", "--values="+all, "--dry-run=client")
	for _, foreign := range []string{system, "shardinguser-controller-manager"} {
		for line := range strings.Lines(manifests + notes) {
			if strings.Contains(line, foreign) {
				t.Errorf("a release of another name and namespace says: %s", line)
			}
		}
	}
}

func TestNotesSayWhatToDoNext(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		values string
		says   []string
	}{
		"as it is":      {"{}", []string{"create secret generic shardinguser-database --from-file=dsn=./dsn.txt", "kind: ShardingUser", "https://shardinguser-controller-manager-login." + system + ".svc:443", "self-signed"}},
		"cnpg":          {"database: {cloudNativePG: {cluster: accounts}}", []string{"accounts-app", "accounts-ca"}},
		"in memory":     {"{database: {inMemory: true}, replicas: 2}", []string{"keeps all accounts in memory", "run one replica", "no PodDisruptionBudget"}},
		"CRDs that go":  {"crds: {keep: false}", []string{"WARNING"}},
		"no CRDs":       {"crds: {enabled: false}", []string{"install and upgrade the CustomResourceDefinitions yourself"}},
		"default users": {"defaultUsers: {passwords: generated}", []string{"get secret admin-password"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := gomega.NewWithT(t)
			said := helm(t, "install", release, chartFolder, "--namespace="+system, "--dry-run=client", "--values="+values(t, test.values))
			_, notes, found := strings.Cut(said, "\nNOTES:\n")
			g.Expect(found).To(gomega.BeTrue())
			for _, text := range test.says {
				g.Expect(notes).To(gomega.ContainSubstring(text))
			}
			g.Expect(notes).NotTo(gomega.MatchRegexp(`\n\n\n`), "no hole where something is left out")
		})
	}
}

// secretsVerbs is what rules permit with Secrets.
func secretsVerbs(rules []rbacv1.PolicyRule) (verbs []string) {
	for _, rule := range rules {
		if slices.Contains(rule.Resources, "secrets") {
			verbs = append(verbs, rule.Verbs...)
		}
	}
	return verbs
}

// secretVolume is one key of a Secret, as one file.
func secretVolume(name, key, path string) corev1.VolumeSource {
	return corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name, Items: []corev1.KeyToPath{{Key: key, Path: path}}}}
}

// volume is one that is mounted where the manager looks for it.
func (m made) volume(name string) corev1.VolumeSource {
	m.t.Helper()
	m.Expect(manager(m.t, m.objects).VolumeMounts).To(gomega.ContainElement(
		corev1.VolumeMount{Name: name, MountPath: "/etc/shardinguser/" + name, ReadOnly: true}))
	for _, v := range get[appsv1.Deployment](m.t, m.objects, deploymentName).Spec.Template.Spec.Volumes {
		if v.Name == name {
			return v.VolumeSource
		}
	}
	m.t.Fatalf("there is no volume %s", name)
	return corev1.VolumeSource{}
}

func (m made) environment() map[string]string {
	m.t.Helper()
	variables := map[string]string{}
	for _, v := range manager(m.t, m.objects).Env {
		variables[v.Name] = v.Value
	}
	return variables
}

func (m made) flags() map[string]string {
	m.t.Helper()
	return flagsOf(manager(m.t, m.objects).Args)
}
