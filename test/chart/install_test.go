// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const managerName = release + "-controller-manager"

// The tests of this file are not parallel: they share one release and one CRD.
func TestUsersStayOverInstallUpgradeAndUninstall(t *testing.T) {
	g := gomega.NewWithT(t)
	uninstalled(t)
	dsn := testenv.Database(t)
	at := []string{"--namespace=" + system}
	helm(t, append([]string{"install", release, chartFolder, "--create-namespace"}, at...)...)
	kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", "crd/shardingusers.sharding.io", "crd/shardinguserpolicies.sharding.io")

	secret(t, system, "shardinguser-database", map[string]string{"dsn": dsn})
	m := runs(t, managerName)
	g.Expect(m.Ready(t.Context())).To(gomega.Succeed())
	secret(t, "team-a", "alice", map[string]string{"password": "a password of alice's"})
	alice := &v1alpha1.ShardingUser{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "alice"},
		Spec: v1alpha1.ShardingUserSpec{
			Roles:    []v1alpha1.Role{"viewer"},
			Password: &v1alpha1.PasswordSource{SecretRef: v1alpha1.SecretKeyReference{Name: "alice"}},
		},
	}
	g.Expect(kube.Create(t.Context(), alice)).To(gomega.Succeed())
	becomesReady(t, alice)
	g.Expect(m.LogIn(t.Context(), "alice", "a password of alice's")).To(gomega.HaveField("Status", 200))

	helm(t, append([]string{"upgrade", release, nextVersion(t), "--set=lockout.attempts=3"}, at...)...)
	hasNewColumn(t)
	var d appsv1.Deployment
	g.Expect(kube.Get(t.Context(), client.ObjectKey{Namespace: system, Name: managerName}, &d)).To(gomega.Succeed())
	g.Expect(d.Spec.Template.Spec.Containers[0].Args).To(gomega.ContainElement("--lockout-attempts=3"))
	helm(t, append([]string{"rollback", release, "1"}, at...)...)

	// The accounts outlive the operator.
	g.Expect(m.Stop(25 * time.Second)).To(gomega.Succeed())
	helm(t, append([]string{"uninstall", release}, at...)...)
	g.Expect(client.IgnoreNotFound(kube.Get(t.Context(), client.ObjectKeyFromObject(&d), &d))).To(gomega.Succeed())
	g.Expect(kubectl(t, "get", "clusterroles", "-o", "name")).NotTo(gomega.ContainSubstring("shardinguser"))
	becomesReady(t, alice) // still exists and is Ready
	g.Expect(alice.DeletionTimestamp).To(gomega.BeNil())
	db, err := pgx.Connect(t.Context(), dsn)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	defer func() { _ = db.Close(t.Context()) }()
	var rows int
	g.Expect(db.QueryRow(t.Context(), "SELECT count(*) FROM users WHERE username = 'alice'").Scan(&rows)).To(gomega.Succeed())
	g.Expect(rows).To(gomega.Equal(1))

	// When it is installed again, it continues with what it left.
	helm(t, append([]string{"install", release, chartFolder}, at...)...)
	again := runs(t, managerName)
	alice.Spec.Roles = []v1alpha1.Role{"operator"}
	g.Expect(kube.Update(t.Context(), alice)).To(gomega.Succeed())
	becomesReady(t, alice)
	g.Expect(again.Running()).To(gomega.BeTrue())
}

func TestTracesArriveAndSecretsAreOnlyReadWithoutGeneration(t *testing.T) {
	g := gomega.NewWithT(t)
	uninstalled(t)
	arrived := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case arrived <- r.URL.Path:
		default: // one is enough
		}
	}))
	t.Cleanup(collector.Close)
	helm(t, "install", release, chartFolder, "--namespace="+system, "--create-namespace",
		"--set=tracing.enabled=true,tracing.endpoint="+collector.URL)
	secret(t, system, "shardinguser-database", map[string]string{"dsn": testenv.Database(t)})
	m := runs(t, managerName)
	g.Expect(m.Ready(t.Context())).To(gomega.Succeed())

	bob := &v1alpha1.ShardingUser{
		ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "bob"},
		Spec: v1alpha1.ShardingUserSpec{Password: &v1alpha1.PasswordSource{
			SecretRef: v1alpha1.SecretKeyReference{Name: "bob-login"}, Generate: &v1alpha1.PasswordGeneration{},
		}},
	}
	g.Expect(kube.Create(t.Context(), bob)).To(gomega.Succeed())
	g.Eventually(func(g gomega.Gomega) {
		g.Expect(kube.Get(t.Context(), client.ObjectKeyFromObject(bob), bob)).To(gomega.Succeed())
		g.Expect(bob.Status.Conditions).To(gomega.ContainElement(gomega.And(gomega.HaveField("Reason", v1alpha1.ReasonGenerationDisabled),
			gomega.HaveField("Message", gomega.ContainSubstring("generatedPasswords.enabled=true")))))
	}).WithTimeout(soon).WithPolling(poll).Should(gomega.Succeed())
	secret(t, system, "bob-login", map[string]string{"password": "a password of bob's"})
	becomesReady(t, bob)
	g.Eventually(arrived).WithTimeout(soon).Should(gomega.Receive(gomega.Equal("/v1/traces")))
}

// nextVersion is a chart whose CRD has one more column.
func nextVersion(t *testing.T) (path string) {
	t.Helper()
	g := gomega.NewWithT(t)
	path = t.TempDir()
	g.Expect(os.CopyFS(path, os.DirFS(filepath.Join(root, chartFolder)))).To(gomega.Succeed())
	crd := filepath.Join(path, "files", "crd", "sharding.io_shardingusers.yaml")
	content, err := os.ReadFile(crd)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	const columns = "  - additionalPrinterColumns:\n"
	g.Expect(string(content)).To(gomega.ContainSubstring(columns))
	g.Expect(os.WriteFile(crd, []byte(strings.Replace(string(content), columns,
		columns+"    - jsonPath: .metadata.generation\n      name: Brand-New\n      type: integer\n", 1)), 0o600)).To(gomega.Succeed())
	return path
}

// hasNewColumn waits until the CRD is that of the next version.
func hasNewColumn(t *testing.T) {
	t.Helper()
	gomega.NewWithT(t).Eventually(func() string {
		return kubectl(t, "get", "crd", "shardingusers.sharding.io", "-o", "jsonpath={.spec.versions[*].additionalPrinterColumns[*].name}")
	}).WithTimeout(soon).WithPolling(poll).Should(gomega.ContainSubstring("Brand-New"), "an upgrade of the chart upgrades the CRD")
}

func TestTheChartAdoptsAKustomizeInstallation(t *testing.T) {
	g := gomega.NewWithT(t)
	uninstalled(t)
	kubectl(t, "apply", "-k", filepath.Join(root, "config", "default"))
	before := deploymentUID(t)
	said := helmRefuses(t, "install", release, chartFolder, "--namespace="+system)
	g.Expect(said).To(gomega.ContainSubstring("invalid ownership metadata"), "unless one says so")
	helm(t, "install", release, chartFolder, "--namespace="+system, "--take-ownership", "--force-conflicts")
	g.Expect(deploymentUID(t)).To(gomega.Equal(before), "it is the same one, and its pods make room for the chart's")
	var d appsv1.Deployment
	g.Expect(kube.Get(t.Context(), client.ObjectKey{Namespace: system, Name: managerName}, &d)).To(gomega.Succeed())
	container := d.Spec.Template.Spec.Containers[0]
	g.Expect(container.Image).To(gomega.HavePrefix("ghcr.io/sharding-system/shardinguser-operator:"))
	g.Expect(container.VolumeMounts).To(gomega.HaveLen(1))
	g.Expect(d.Labels).To(gomega.HaveKeyWithValue("app.kubernetes.io/managed-by", "Helm"))
	// kubectl owns fields that are equal in both, until they change.
	helm(t, "upgrade", release, nextVersion(t), "--namespace="+system, "--force-conflicts")
	hasNewColumn(t)
}

func deploymentUID(t *testing.T) string {
	t.Helper()
	return kubectl(t, "-n", system, "get", "deployment", managerName, "-o", "jsonpath={.metadata.uid}")
}

// The kinds of the Prometheus Operator and of cert-manager are not installed and excluded.
func TestTheAPIServerAcceptsTheExamples(t *testing.T) {
	for _, namespace := range []string{system, "team-a", "team-b"} {
		err := kube.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
		gomega.NewWithT(t).Expect(client.IgnoreAlreadyExists(err)).To(gomega.Succeed())
	}
	for _, file := range examples(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			g := gomega.NewWithT(t)
			strict := client.WithFieldValidation(kube, metav1.FieldValidationStrict)
			asked := 0
			for name, o := range render(t, "--values="+file) {
				switch o.GroupVersionKind().Group {
				case "monitoring.coreos.com", "cert-manager.io":
					continue
				}
				asked++
				err := strict.Create(t.Context(), o, client.DryRunAll)
				g.Expect(client.IgnoreAlreadyExists(err)).To(gomega.Succeed(), name)
			}
			g.Expect(asked).To(gomega.BeNumerically(">", 8))
		})
	}
}
