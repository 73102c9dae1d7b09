// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

func TestValuesOfObjects(t *testing.T) {
	t.Parallel()
	cases{
		"what is turned off leaves nothing behind": {
			"{login: {enabled: false}, metrics: {enabled: false}, rbac: {create: false, forPeople: false}, " +
				"serviceAccount: {create: false, name: theirs}, crds: {enabled: false}, database: {inMemory: true}, podDisruptionBudget: {enabled: false}}",
			func(m made) {
				m.Expect(m.objects).To(gomega.HaveLen(2))
				m.Expect(m.objects).To(gomega.HaveKey("Secret shardinguser-system/shardinguser-digest-key"))
				pod := get[appsv1.Deployment](m.t, m.objects, deploymentName).Spec.Template.Spec
				m.Expect(pod.ServiceAccountName).To(gomega.Equal("theirs"))
				m.Expect(pod.Volumes).To(gomega.BeEmpty())
				m.Expect(m.flags()).To(gomega.And(gomega.HaveKeyWithValue("login-bind-address", "0"),
					gomega.HaveKeyWithValue("metrics-bind-address", "0"), gomega.Not(gomega.HaveKey("user-database-dsn-file"))))
				m.Expect(manager(m.t, m.objects).Ports).To(gomega.ConsistOf(gomega.HaveField("Name", "health")))
			},
		},
		"the container has no rights that it does not need": {
			"{}",
			func(m made) {
				pod, container := get[appsv1.Deployment](m.t, m.objects, deploymentName).Spec.Template.Spec, manager(m.t, m.objects)
				m.Expect(pod.SecurityContext).To(gomega.Equal(&corev1.PodSecurityContext{
					RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
				}))
				m.Expect(container.SecurityContext).To(gomega.Equal(&corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				}))
			},
		},
		"replicas share the fallback's lockout limit": {
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
		"null turns a switch off": {
			"{tracing: {enabled: null}, notifications: {enabled: null}, login: {fallback: {enabled: null}}}",
			func(m made) {
				m.Expect(m.flags()).To(gomega.And(gomega.Not(gomega.HaveKey("tracing")),
					gomega.HaveKeyWithValue("notifications", "off"), gomega.HaveKeyWithValue("fallback", "off")))
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
	}.check(t)
}

func TestValuesOfReplicasAndNetworks(t *testing.T) {
	t.Parallel()
	cases{
		"only the metrics are scraped, not the login API": {
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
		"a rollout stops no replica before another is ready": {
			"replicas: 4",
			func(m made) {
				strategy := get[appsv1.Deployment](m.t, m.objects, deploymentName).Spec.Strategy
				m.Expect(strategy.RollingUpdate.MaxUnavailable.IntValue()).To(gomega.BeZero())
			},
		},
		"replicas prefer different nodes, and a drain evicts one": {
			"{replicas: 2}",
			func(m made) {
				pods := get[appsv1.Deployment](m.t, m.objects, deploymentName).Spec
				budget := get[policyv1.PodDisruptionBudget](m.t, m.objects, "PodDisruptionBudget "+system+"/shardinguser-controller-manager")
				m.Expect(budget.Spec.MaxUnavailable.IntValue()).To(gomega.Equal(1))
				m.Expect(budget.Spec.Selector).To(gomega.Equal(pods.Selector))
				apart := pods.Template.Spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution
				m.Expect(apart).To(gomega.HaveLen(1))
				m.Expect(apart[0].PodAffinityTerm.LabelSelector).To(gomega.Equal(pods.Selector))
				m.Expect(apart[0].PodAffinityTerm.TopologyKey).To(gomega.Equal("kubernetes.io/hostname"))
			},
		},
		"an affinity of their own replaces the default one": {
			"affinity: {nodeAffinity: {}}",
			func(m made) {
				affinity := get[appsv1.Deployment](m.t, m.objects, deploymentName).Spec.Template.Spec.Affinity
				m.Expect(affinity.PodAntiAffinity).To(gomega.BeNil())
				m.Expect(affinity.NodeAffinity).NotTo(gomega.BeNil())
			},
		},
		"a budget can be a share": {
			"{replicas: 3, podDisruptionBudget: {maxUnavailable: 34%}}",
			func(m made) {
				budget := get[policyv1.PodDisruptionBudget](m.t, m.objects, "PodDisruptionBudget "+system+"/shardinguser-controller-manager")
				pods := get[appsv1.Deployment](m.t, m.objects, deploymentName)
				m.Expect(budget.Spec.MaxUnavailable.String()).To(gomega.Equal("34%"))
				m.Expect(budget.Spec.Selector).To(gomega.Equal(pods.Spec.Selector))
				m.Expect(*pods.Spec.Replicas).To(gomega.BeEquivalentTo(3))
			},
		},
		"only the named namespaces may connect as gateways": {
			"networkPolicy: {enabled: true, loginFrom: {kubernetes.io/metadata.name: edge}}",
			func(m made) {
				policy := get[networkingv1.NetworkPolicy](m.t, m.objects, "NetworkPolicy "+system+"/shardinguser-allow-login-traffic")
				m.Expect(policy.Spec.Ingress[0].From[0].NamespaceSelector.MatchLabels).To(gomega.HaveKeyWithValue("kubernetes.io/metadata.name", "edge"))
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
		"a digest precedes a tag of the image": {
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
	}.check(t)
}

// Helm lists all violations of the schema at once.
func TestTheSchemaRejectsInvalidValues(t *testing.T) {
	t.Parallel()
	args := []string{"template", release, chartFolder}
	wrong := map[string]string{
		"replica=2":                       "at '': additional properties 'replica' not allowed",
		"database.dsn=postgres://u:p@h/d": "at '/database': additional properties 'dsn' not allowed",
		"database.tls.mode=verify":        "at '/database/tls/mode': value must be one of",
		"lockout.duration=15":             "at '/lockout/duration': got number, want string",
		"lockout.attempts=0":              "at '/lockout/attempts': minimum: got 0, want 1",
		"watchNamespaces={Team_A}":        "at '/watchNamespaces/0': 'Team_A' does not match pattern",
		"extraArgs={bcrypt-cost=12}":      "at '/extraArgs/0': 'bcrypt-cost=12' does not match pattern",
		"defaultUsers.passwords=admin123": "at '/defaultUsers/passwords': value must be one of",
		"image.digest=latest":             "at '/image/digest': 'latest' does not match pattern",
		"tracing.endpoint=collector:4318": "at '/tracing/endpoint': 'collector:4318' does not match pattern",
	}
	for setting := range wrong {
		args = append(args, "--set="+setting)
	}
	said := helmRefuses(t, args...)
	for setting, want := range wrong {
		if !strings.Contains(said, want) {
			t.Errorf("--set=%s: %s; want %q in it", setting, said, want)
		}
	}
}

func TestContradictoryValuesAreRejectedWithAReason(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]string{
		"database.existingSecret=":                                                      "name the Secret with the DSN, or set database.cloudNativePG.cluster or database.inMemory",
		"login.tls.certManager.enabled=true":                                            "name the Issuer that signs the certificate",
		"serviceAccount.create=false":                                                   "name the ServiceAccount that is to be used",
		"policies.enabled=false,admission.enabled=true":                                 "it decides by policies, which are off",
		"metrics.enabled=false,monitoring.serviceMonitor.enabled=true":                  "there is nothing to scrape",
		"metrics.enabled=false,monitoring.prometheusRule.enabled=true":                  "would count as down",
		"watchNamespaces={a},defaultUsers.passwords=generated,defaultUsers.namespace=b": "b is not one of watchNamespaces",
		"defaultUsers.takeOver=true":                                                    "accounts can only be adopted with generated passwords",
		"defaultUsers.passwords=sharding,defaultUsers.takeOver=true":                    "accounts can only be adopted with generated passwords",
		"tracing.enabled=true":                                                          "say where the collector is",
	} {
		said := helmRefuses(t, "template", release, chartFolder, "--set="+setting)
		if !strings.Contains(said, want) {
			t.Errorf("--set=%s: %s; want %q in it", setting, said, want)
		}
	}
}

func TestEveryExampleIsLintedAndUsesExistingFlags(t *testing.T) {
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
