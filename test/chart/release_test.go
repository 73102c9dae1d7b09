// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onsi/gomega"
)

// The chart is a dependency that a parent chart enables, with values for all its charts.
func TestTheChartCanBeADependency(t *testing.T) {
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

// Every reference to the release's namespace or to an object of the chart follows the release.
func TestAnotherReleaseDoesNotNameTheDefaultOne(t *testing.T) {
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
		"with the default values": {"{}", []string{"create secret generic shardinguser-database --from-file=dsn=./dsn.txt", "kind: ShardingUser", "https://shardinguser-controller-manager-login." + system + ".svc:443", "self-signed"}},
		"cnpg":                    {"database: {cloudNativePG: {cluster: accounts}}", []string{"accounts-app", "accounts-ca"}},
		"in memory":               {"{database: {inMemory: true}, replicas: 2, podDisruptionBudget: {enabled: false}}", []string{"keeps all accounts in memory", "run one replica", "no PodDisruptionBudget"}},
		"CRDs that go":            {"crds: {keep: false}", []string{"WARNING"}},
		"no CRDs":                 {"crds: {enabled: false}", []string{"install and upgrade the CustomResourceDefinitions yourself"}},
		"default users":           {"defaultUsers: {passwords: generated}", []string{"get secret admin-password"}},
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
