// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// page returns a file of the chart.
func page(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, chartFolder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// documented returns each value with its default and its comment in values.yaml that begins with two dashes. A value
// with such a comment counts as one, whatever it contains.
func documented(t *testing.T) (lines [][3]string) {
	t.Helper()
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(page(t, "values.yaml")), &document); err != nil {
		t.Fatal(err)
	}
	var walk func(path string, node *yaml.Node)
	walk = func(path string, node *yaml.Node) {
		for i := 0; i < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			name := strings.TrimPrefix(path+"."+key.Value, ".")
			_, comment, found := strings.Cut("\n"+key.HeadComment, "\n# -- ")
			if !found {
				if value.Kind != yaml.MappingNode || len(value.Content) == 0 {
					t.Errorf("values.yaml says nothing of %s", name)
				}
				walk(name, value)
				continue
			}
			var fallback any
			if err := value.Decode(&fallback); err != nil {
				t.Fatal(err)
			}
			shown, err := json.Marshal(fallback)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, [3]string{name, string(shown), strings.ReplaceAll(comment, "\n# ", " ")})
		}
	}
	walk("", document.Content[0])
	return lines
}

// The table of README.md has every value with its default and its description in values.yaml.
func TestTheReadmeListsEveryValue(t *testing.T) {
	t.Parallel()
	want := documented(t)
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([^`]*)` \\| (.+) \\|$")
	var got [][3]string
	for _, match := range row.FindAllStringSubmatch(page(t, "README.md"), -1) {
		got = append(got, [3]string{match[1], match[2], match[3]})
	}
	if len(want) < 60 {
		t.Fatalf("values.yaml has %d values: are they still read right?", len(want))
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("README.md has no line | `%s` | `%s` | %s |", line[0], line[1], line[2])
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("README.md has a line of `%s` that values.yaml does not bear out", line[0])
		}
	}
}
