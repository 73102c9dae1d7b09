// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// The sh blocks of docs/install.md are one story: each command runs after those above it, in the cluster that they
// leave. The other blocks need what the test does not have, or repeat another block.
func TestTheCommandsOfTheGuideInstallTheOperator(t *testing.T) {
	g := gomega.NewWithT(t)
	uninstalled(t)
	_, err := plane.Kubectl(t.Context(), "delete", "namespace", system, "--ignore-not-found", "--timeout=60s")
	g.Expect(err).NotTo(gomega.HaveOccurred())
	if commands := follow(t, "install.md"); commands < 8 {
		t.Errorf("docs/install.md has %d commands: are they still read right?", commands)
	}
	g.Expect(kubectl(t, "-n", system, "get", "deployment", managerName, "-o", "jsonpath={.metadata.labels.app\\.kubernetes\\.io/managed-by}")).
		To(gomega.Equal("Helm"))
	m := runs(t, managerName)
	g.Expect(m.Ready(t.Context())).To(gomega.Succeed())
}

// follow runs the commands of a page in order, and returns how many there are. Files of DSNs are of new databases.
func follow(t *testing.T, page string) (commands int) {
	t.Helper()
	g := gomega.NewWithT(t)
	text, err := os.ReadFile(filepath.Join(root, "docs", page))
	g.Expect(err).NotTo(gomega.HaveOccurred())
	files := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(files, name)
		g.Expect(os.WriteFile(path, content, 0o600)).To(gomega.Succeed())
		return path
	}
	replaced := map[string]string{}
	for _, name := range []string{"dsn.txt", "orders-dsn.txt"} {
		if strings.Contains(string(text), "./"+name) {
			replaced["./"+name] = file(name, []byte(testenv.Database(t)+"\n"))
		}
	}
	for _, block := range regexp.MustCompile("(?s)```yaml\n# ([a-z-]+\\.yaml)\n(.*?)```").FindAllSubmatch(text, -1) {
		replaced[string(block[1])] = file(string(block[1]), block[2])
	}
	// Without the blocks that say why they are not run.
	runnable := regexp.MustCompile("(?s)<!-- not run: [^\n]+ -->\n\n```sh\n.*?```").ReplaceAllString(string(text), "")
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(runnable, -1) {
		for line := range strings.Lines(block[1]) {
			for name, path := range replaced {
				line = strings.ReplaceAll(line, name, path)
			}
			command(t, line)
			commands++
		}
	}
	return commands
}

// command runs a command of a page in the root of the repository.
func command(t *testing.T, line string) {
	t.Helper()
	words := strings.Fields(line)
	for i, word := range words {
		word = strings.Trim(word, "'")
		if name, value, isPair := strings.Cut(word, "="); isPair && strings.HasPrefix(name, "--") {
			word = name + "=" + strings.Trim(value, "'")
		}
		if strings.HasPrefix(word, "config/") {
			word = filepath.Join(root, word)
		}
		words[i] = word
	}
	switch words[0] {
	case "kubectl":
		kubectl(t, words[1:]...)
	case "helm":
		helm(t, words[1:]...)
	default:
		t.Errorf("a page has a command that this test does not know: %s", line)
	}
}

// Each --set=... of the other pages has to be a value, too.
func TestTheGuidesNameExistingValues(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	table, err := os.ReadFile(filepath.Join(root, chartFolder, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(string(table), -1) {
		for path := row[1]; path != ""; path = path[:max(strings.LastIndex(path, "."), 0)] {
			known[path] = true
		}
	}
	value := regexp.MustCompile("`((?:database|loginDatabase|listenDatabase|login|metrics|monitoring|crds|policies|admission|" +
		"generatedPasswords|tracing|podDisruptionBudget)(?:\\.[a-zA-Z]+)+)(?:=[^`]*)?`")
	named := 0
	for _, name := range guides(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range value.FindAllStringSubmatch(string(text), -1) {
			named++
			if !known[match[1]] {
				t.Errorf("%s names the value %s, which there is not", name, match[1])
			}
		}
	}
	if named < 12 {
		t.Errorf("the guides name %d values: are they still read right?", named)
	}
}

// The chart knows the values of every helm command in the documentation. (The test above runs those of
// docs/install.md.)
func TestTheChartKnowsTheValuesOfEveryHelmCommand(t *testing.T) {
	t.Parallel()
	command := regexp.MustCompile(`(?m)^ *(?:\$ )?helm (?:install|upgrade) shardinguser charts/shardinguser-operator( .*)$`)
	found := 0
	for _, name := range guides(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		unbroken := strings.ReplaceAll(string(text), "\\\n", "")
		for _, match := range command.FindAllStringSubmatch(unbroken, -1) {
			found++
			args := []string{"template", release, chartFolder, "--namespace=" + system}
			for _, set := range regexp.MustCompile(`--set ('[^']+'|\S+)`).FindAllStringSubmatch(match[1], -1) {
				args = append(args, "--set="+strings.ReplaceAll(set[1], "'", ""))
			}
			parse(t, helm(t, args...))
		}
	}
	if found < 6 {
		t.Errorf("the guides have %d commands for helm: are they still read right?", found)
	}
}

// The API server accepts what the values of docs/high-availability.md become.
func TestTheGuideToHighAvailabilityIsAccepted(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "docs", "high-availability.md"))
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(string(text))
	if shown == nil {
		t.Fatal("docs/high-availability.md shows no values")
	}
	pods := get[appsv1.Deployment](t, render(t, "--values="+values(t, shown[1])), deploymentName).Spec
	if spread := pods.Template.Spec.TopologySpreadConstraints; len(spread) != 1 || !reflect.DeepEqual(spread[0].LabelSelector, pods.Selector) {
		t.Errorf("pods with the labels %v are spread by %+v", pods.Selector, spread)
	}
}

// A released chart installs the image that was built with it, not one that later gets the same tag.
func TestAPackagedChartPinsItsImage(t *testing.T) {
	t.Parallel()
	digest := "@sha256:" + strings.Repeat("0a", 32)
	for image, want := range map[string]string{
		"ghcr.io/sharding-system/shardinguser-operator:v1.2.3" + digest: "ghcr.io/sharding-system/shardinguser-operator" + digest,
		"registry.example.com:5000/team/operator:mine":                  "registry.example.com:5000/team/operator:mine",
		"registry.example.com:5000/team/operator":                       "registry.example.com:5000/team/operator:v1.2.3",
	} {
		folder := t.TempDir()
		cmd := exec.CommandContext(t.Context(), filepath.Join(root, "hack", "package-chart.sh"), "v1.2.3", image, folder)
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, output)
		}
		packaged := filepath.Join(folder, "shardinguser-operator-1.2.3.tgz")
		if got := manager(t, parse(t, helm(t, "template", release, packaged, "--namespace="+system))).Image; got != want {
			t.Errorf("of %s the chart makes the image %s, want %s", image, got, want)
		}
	}
}

// guides are the pages of the documentation.
func guides(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	return append(pages, filepath.Join(root, "README.md"))
}
