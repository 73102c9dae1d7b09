// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sharding-system/shardinguser-operator/internal/config"
)

const chart = "charts/shardinguser-operator/"

// chartSettings returns the settings that are values of the chart.
func chartSettings() (all []config.Setting) {
	for _, section := range config.Table() {
		for _, s := range section.Settings {
			if s.Chart != "" {
				all = append(all, s)
			}
		}
	}
	return all
}

// writeSchema writes the form of these values into values.schema.json.
func writeSchema(root *os.Root) error {
	const file = chart + "values.schema.json"
	content, err := root.ReadFile(file)
	if err != nil {
		return err
	}
	var schema map[string]any
	if err := json.Unmarshal(content, &schema); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, s := range chartSettings() {
		at := schema
		keys := strings.Split(s.Chart, ".")
		for _, key := range keys[:len(keys)-1] {
			at = child(child(at, "properties"), key)
			at["type"], at["additionalProperties"] = "object", false
		}
		value := s.Schema()
		properties, key := child(at, "properties"), keys[len(keys)-1]
		if description := child(properties, key)["description"]; description != nil {
			value["description"] = description
		}
		properties[key] = value
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		return err
	}
	return root.WriteFile(file, b.Bytes(), 0o644)
}

// child returns an object in another one, which is made if it is not there.
func child(of map[string]any, key string) map[string]any {
	object, ok := of[key].(map[string]any)
	if !ok {
		object = map[string]any{}
		of[key] = object
	}
	return object
}

// writeTemplate writes how these values become arguments of the manager. Switches are passed only if they are turned.
func writeTemplate(root *os.Root) error {
	var b strings.Builder
	b.WriteString("{{/* Generated from internal/config/table.go by `make generate`: the arguments of values. They win over a settings file. */}}\n" +
		"{{- define \"shardinguser.settings\" }}\n")
	for _, s := range chartSettings() {
		value, unset := ".Values."+s.Chart, "" // what is not passed
		switch kind := s.Schema()["type"]; kind {
		case "array":
			value = `join "," ` + value
			if s.Default != "" {
				unset = "\n" // no list gives it: an empty list is passed too
			}
		case "boolean":
			value, unset = `ternary "off" "on" (not `+value+`)`, s.Default // null is false
		case "integer":
			value = "toString (int64 " + value + ")"
		case "string":
			value += ` | default ""` // for null
		default:
			return fmt.Errorf("--%s: no argument is known for values of the type %v", s.Name, kind)
		}
		fmt.Fprintf(&b, "{{- include \"shardinguser.setting\" (list %q %q (%s)) }}\n", s.Name, unset, value)
	}
	b.WriteString("{{- end }}\n")
	return root.WriteFile(chart+"templates/_settings.tpl", []byte(b.String()), 0o644)
}

// writeValues writes the table of values into the chart's README.md, from values.yaml.
func writeValues(root *os.Root) error {
	content, err := root.ReadFile(chart + "values.yaml")
	if err != nil {
		return err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		return fmt.Errorf("values.yaml: %w", err)
	}
	lines, err := documented("", document.Content[0])
	if err != nil {
		return err
	}
	rows := [][]string{{"value", "default", ""}}
	defaults := map[string]any{}
	for _, line := range lines {
		shown, err := json.Marshal(line.value)
		if err != nil {
			return err
		}
		rows = append(rows, []string{"`" + line.path + "`", "`" + string(shown) + "`", line.comment})
		defaults[line.path] = line.value
	}
	for _, s := range chartSettings() {
		fallback, there := defaults[s.Chart]
		if !there || written(fallback) != s.Default {
			err = errors.Join(err, fmt.Errorf("values.yaml: write the value %s, with the default %q as --%s has it", s.Chart, s.Default, s.Name))
		}
	}
	if err != nil {
		return err
	}
	return replace(root, chart+"README.md", "values", table(rows...))
}

// written returns a value as it is written on the command line.
func written(value any) string {
	switch value := value.(type) {
	case bool:
		if value {
			return "on"
		}
		return "off"
	case []any:
		return strings.Trim(fmt.Sprint(value), "[]")
	}
	return fmt.Sprint(value)
}

// A line is a value of the chart.
type line struct {
	path    string
	value   any // its default
	comment string
}

// documented returns each value, with its comment in values.yaml that begins with two dashes. A node with such a comment is one
// value, whatever it consists of.
func documented(path string, node *yaml.Node) (lines []line, err error) {
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		name := strings.TrimPrefix(path+"."+key.Value, ".")
		_, comment, found := strings.Cut("\n"+key.HeadComment, "\n# -- ")
		switch {
		case found:
			one := line{path: name, comment: strings.ReplaceAll(comment, "\n# ", " ")}
			if err := value.Decode(&one.value); err != nil {
				return nil, err
			}
			lines = append(lines, one)
		case value.Kind != yaml.MappingNode || len(value.Content) == 0:
			return nil, fmt.Errorf("values.yaml has no comment on %s", name)
		default:
			below, err := documented(name, value)
			if err != nil {
				return nil, err
			}
			lines = append(lines, below...)
		}
	}
	return lines, nil
}
