// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// A rule is the tested part of an alert.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// ruleSpec is the content of a PrometheusRule, and also the format of a rule file for Prometheus.
type ruleSpec struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

// file returns a file of the repository by its path from the root.
func file(t *testing.T, path string) string {
	t.Helper()
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// readRules returns the rules of config/prometheus and their names.
func readRules(t *testing.T) (spec ruleSpec, rules []rule) {
	t.Helper()
	var resource struct {
		Spec ruleSpec `json:"spec"`
	}
	if err := yaml.Unmarshal([]byte(file(t, "config/prometheus/rules.yaml")), &resource); err != nil {
		t.Fatal(err)
	}
	for _, group := range resource.Spec.Groups {
		rules = append(rules, group.Rules...)
	}
	if len(rules) < 8 {
		t.Fatalf("there are %d alerts: are they still read right?", len(rules))
	}
	return resource.Spec, rules
}

// write writes a rule file for Prometheus.
func write(t *testing.T, spec ruleSpec) string {
	t.Helper()
	content, err := yaml.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestEachAlertFiresOnlyWhenItShould(t *testing.T) {
	t.Parallel()
	spec, rules := readRules(t)
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "rules.yaml"), []byte(write(t, spec)), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := testenv.Promtool(t.Context(), folder, "check", "rules", "--lint-fatal", "rules.yaml"); err != nil {
		t.Error(output)
	}
	tests, err := filepath.Glob("alerts/*.yaml")
	if err != nil || len(tests) < 4 {
		t.Fatalf("there are the tests %v: %v", tests, err)
	}
	all := ""
	for _, name := range tests {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, filepath.Base(name)), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if output, err := testenv.Promtool(t.Context(), folder, "test", "rules", filepath.Base(name)); err != nil {
			t.Error(output)
		}
		all += string(content)
	}
	for _, r := range rules {
		if !strings.Contains(all, `alertname="`+r.Alert+`"`) && !regexp.MustCompile(`alertname: `+r.Alert+`\n +eval_time: \w+\n +exp_alerts:\n`).MatchString(all) {
			t.Errorf("no test shows that %s fires", r.Alert)
		}
	}
}

// The link of each alert leads to what to do.
func TestEachAlertHasASectionInTheGuide(t *testing.T) {
	t.Parallel()
	_, rules := readRules(t)
	const guide = "docs/monitoring.md"
	text := file(t, guide)
	for _, r := range rules {
		want := "https://github.com/sharding-system/shardinguser-operator/blob/main/" + guide + "#" + strings.ToLower(r.Alert)
		if r.Annotations["runbook_url"] != want {
			t.Errorf("%s has the runbook %q, want %q", r.Alert, r.Annotations["runbook_url"], want)
		}
		_, chapter, found := strings.Cut(text, "\n### "+r.Alert+"\n")
		chapter, _, _ = strings.Cut(chapter, "\n##")
		if !found || len(chapter) < 300 {
			t.Errorf("%s has no chapter on %s worth the name", guide, r.Alert)
		}
		if severity := r.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s has the severity %q", r.Alert, severity)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s does not say what it is about", r.Alert)
		}
	}
	for _, match := range regexp.MustCompile(`(?m)^### (ShardingUser\w+)$`).FindAllStringSubmatch(text, -1) {
		known := false
		for _, r := range rules {
			known = known || r.Alert == match[1]
		}
		if !known {
			t.Errorf("%s has a chapter on %s, which is no alert", guide, match[1])
		}
	}
}
