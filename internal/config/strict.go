// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// byteOrderMark is what some editors begin a file with.
var byteOrderMark = []byte("\ufeff")

// A keyed is an object of the settings file as it is written: parsers drop a key that is there twice, and its line.
type keyed struct {
	lines    map[string][]int // by key, in the order of the file
	sections map[string]keyed // the sections that are ours
}

// checkKeys reports keys that are there twice, and keys that differ from one of ours in their spelling only. Either way the
// file has a value that would not count.
func (l *loader) checkKeys(file keyed) {
	ours := map[string][]string{"": {sectionSecurity, sectionOperator}, sectionSecurity: {keyName(keyDSN)}}
	l.checkSection("", file, ours[""])
	for _, section := range ours[""] {
		l.checkSection(section, file.sections[section], ours[section])
	}
	wanted := spelling(keyName(keyDSN))
	for _, key := range slices.Sorted(maps.Keys(file.lines)) {
		if spelling(key) == wanted {
			l.keyProblem(file.lines[key], "the DSN is not in its section; write it as %s", keyDSN)
		}
	}
}

// checkSection checks the keys of one object, of which some are ours.
func (l *loader) checkSection(section string, in keyed, ours []string) {
	for _, key := range slices.Sorted(maps.Keys(in.lines)) {
		lines := in.lines[key]
		if len(lines) > 1 {
			l.keyProblem(lines[1:], "duplicate key%s, first in line %d; keep one", l.nameOf(section, key), lines[0])
		}
		for _, own := range ours {
			if key != own && spelling(key) == spelling(own) {
				l.keyProblem(lines, "the key is misspelled; write %s", joined(section, own))
			}
		}
	}
}

// keyProblem adds a problem with a key in these lines.
func (l *loader) keyProblem(lines []int, format string, args ...any) {
	l.problem(fmt.Sprintf("settings file %s, line %d", l.file, lines[0]), format, args...)
}

// nameOf is a key with its section, with a space before it. A key that is none of ours is not named, since it may be a secret.
func (l *loader) nameOf(section, key string) string {
	isOurs := section == "" && (key == sectionSecurity || key == sectionOperator) ||
		joined(section, key) == keyDSN || section == sectionOperator && l.settings[key] != nil
	if !isOurs {
		return ""
	}
	return " " + joined(section, key)
}

func joined(section, key string) string {
	if section == "" {
		return key
	}
	return section + "." + key
}

func keyName(path string) string {
	_, key, _ := strings.Cut(path, ".")
	return key
}

var separators = strings.NewReplacer("-", "", "_", "", " ", "")

// spelling is what is left of a key without its case, dashes and underscores.
func spelling(key string) string {
	return strings.ToLower(strings.ToUpper(separators.Replace(key))) // both, since Unicode has letters with a case of others
}

// keysOfJSON returns the keys of a JSON object; there are none in another value.
func keysOfJSON(text []byte) keyed {
	return objectOf(text, 1, true)
}

// objectOf reads the keys of the object that text holds, and of its sections, where the first line has this number.
func objectOf(text []byte, line int, sections bool) keyed {
	found := keyed{lines: map[string][]int{}, sections: map[string]keyed{}}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return found
	}
	for decoder.More() {
		token, err := decoder.Token()
		key, isKey := token.(string)
		if err != nil || !isKey {
			return found
		}
		at := line + bytes.Count(text[:decoder.InputOffset()], []byte("\n"))
		found.lines[key] = append(found.lines[key], at)
		var value json.RawMessage
		if decoder.Decode(&value) != nil {
			return found
		}
		if sections && (key == sectionSecurity || key == sectionOperator) {
			begin := decoder.InputOffset() - int64(len(value))
			found.sections[key] = objectOf(value, line+bytes.Count(text[:begin], []byte("\n")), false)
		}
	}
	return found
}

// errSecondDocument is that of a file with more than one document, of which only the first would count.
var errSecondDocument = errors.New("a second document begins there; write only one document")

// keysOfYAML returns the keys of the mapping that the file's one document is. Its errors may quote the file, but for errSecondDocument.
func keysOfYAML(text []byte) (keyed, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return keyed{}, nil
	case err != nil:
		return keyed{}, err
	}
	for {
		var next yaml.Node
		err := decoder.Decode(&next)
		switch {
		case errors.Is(err, io.EOF):
			return mappingOf(&document, true), nil
		case err != nil:
			return keyed{}, err
		case !isEmpty(&next): // a last "---" begins an empty one
			return keyed{}, fmt.Errorf("line %d: %w", next.Line, errSecondDocument)
		}
	}
}

// isEmpty tells whether a document holds nothing.
func isEmpty(document *yaml.Node) bool {
	return len(document.Content) == 0 || document.Content[0].Tag == "!!null"
}

// mappingOf reads the keys of a mapping, and of its sections. Keys that a merge key (<<) brings do not count: the mapping's own
// keys override them.
func mappingOf(node *yaml.Node, sections bool) keyed {
	found := keyed{lines: map[string][]int{}, sections: map[string]keyed{}}
	for node.Kind == yaml.DocumentNode && len(node.Content) > 0 || node.Kind == yaml.AliasNode {
		if node.Kind == yaml.AliasNode {
			node = node.Alias
		} else {
			node = node.Content[0]
		}
	}
	if node.Kind != yaml.MappingNode {
		return found
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		var key string
		if node.Content[i].Decode(&key) != nil {
			key = node.Content[i].Value
		}
		found.lines[key] = append(found.lines[key], node.Content[i].Line)
		if sections && (key == sectionSecurity || key == sectionOperator) {
			found.sections[key] = mappingOf(node.Content[i+1], false)
		}
	}
	return found
}
