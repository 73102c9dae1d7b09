// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"github.com/sharding-system/shardinguser-operator/internal/dsn"
)

// The keys of the settings file that are ours. The others are the sharding
// manager's, whose file it is as well, and are let alone.
const (
	sectionSecurity = "security"
	sectionOperator = "operator"
	keyDSN          = sectionSecurity + ".user_database_dsn"
)

// maxFileBytes bounds what is read by mistake, such as a device.
const maxFileBytes = 1 << 20

// readFile sets the flags that were not given yet by the settings file, JSON or YAML:
//
//	{"security": {"user_database_dsn": "postgres://..."},
//	 "operator": {"bcrypt-cost": 12, "watch-namespaces": ["a", "b"]}}
//
// What is wrong with it becomes a problem; the error returned is that of
// reading alone.
func (l *loader) readFile(r io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(r, maxFileBytes+1))
	if err != nil {
		return err
	}
	if len(text) > maxFileBytes {
		return errors.New("it is larger than 1 MiB")
	}
	file, keys, err := decode(bytes.TrimPrefix(text, byteOrderMark))
	if err != nil {
		l.problem("settings file "+l.file, "%w", err)
		return nil
	}
	l.checkKeys(keys)

	if security, ok := l.section(file, sectionSecurity); ok {
		_, key, _ := strings.Cut(keyDSN, ".")
		var text *string // null is as good as none
		if raw, ok := security[key]; ok && json.Unmarshal(raw, &text) != nil {
			l.problem(keyDSN+" in "+l.file, "the value is not a string; put it in quotes")
		} else if text != nil {
			l.fileDSN = strings.TrimSpace(*text)
		}
	}

	operator, _ := l.section(file, sectionOperator)
	for _, name := range slices.Sorted(maps.Keys(operator)) {
		origin := l.originOf(name)
		setting, ok := l.settings[name]
		switch {
		case !ok && dsn.MayBe(name):
			l.problem(sectionOperator+" in "+l.file, "it has a key that is not a setting")
		case !ok:
			l.problem(origin, "no such setting; did you mean %s?", l.nearest(name))
		case name == flagConfig:
			l.problem(origin, "the settings file cannot name another settings file; remove the key")
		default:
			text, err := flagText(setting.Value, operator[name])
			if err != nil {
				l.problem(origin, "%w", err)
			} else if !setting.given() {
				_ = setting.Set(text) // it keeps its error for later
			}
		}
	}
	return nil
}

// section returns an object of the file, if it is there.
func (l *loader) section(file map[string]json.RawMessage, name string) (map[string]json.RawMessage, bool) {
	raw, ok := file[name]
	if !ok {
		return nil, false
	}
	var section map[string]json.RawMessage
	if json.Unmarshal(raw, &section) != nil {
		l.problem(name+" in "+l.file, "the value is not a section; write keys and values")
		return nil, false
	}
	return section, true
}

var lineNumber = regexp.MustCompile(`\bline [0-9]+`)

// decode returns the file's top-level keys, and where its keys stand. Its errors name the line but quote nothing, as those
// of the parsers may.
func decode(text []byte) (map[string]json.RawMessage, keyed, error) {
	// JSON first: indented by tabs, it is not YAML.
	var keys keyed
	if json.Valid(text) {
		keys = keysOfJSON(text)
	} else {
		converted, err := yaml.YAMLToJSON(text)
		if err == nil {
			keys, err = keysOfYAML(text)
		}
		switch {
		case errors.Is(err, errSecondDocument):
			return nil, keyed{}, err
		case err != nil:
			return nil, keyed{}, notYAML(text, err)
		}
		text = converted
	}
	var file map[string]json.RawMessage
	if json.Unmarshal(text, &file) != nil {
		return nil, keyed{}, errors.New("it has no keys and values at its top level")
	}
	return file, keys, nil
}

// notYAML is the error of a text that no parser takes.
func notYAML(text []byte, err error) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	var object map[string]json.RawMessage
	if decoder.Decode(&object) == nil {
		rest := text[decoder.InputOffset():]
		behind := len(text) - len(bytes.TrimLeft(rest, " \t\r\n"))
		return fmt.Errorf("line %d: unexpected text after the JSON object; delete it", 1+bytes.Count(text[:behind], []byte("\n")))
	}
	where := lineNumber.FindString(err.Error())
	if where == "" {
		where = "line unknown"
	}
	return fmt.Errorf("it is neither JSON nor YAML (%s)", where)
}

// flagText turns a value of the file into what the flag takes on the command line. Its form must be the flag's own: a number in
// quotes is wrong.
func flagText(flag pflag.Value, raw json.RawMessage) (string, error) {
	raw = bytes.TrimSpace(raw)
	isNumber := raw[0] == '-' || '0' <= raw[0] && raw[0] <= '9'
	var text string
	isText := raw[0] == '"' && json.Unmarshal(raw, &text) == nil

	switch flag.Type() {
	case typeBool:
		if s := string(raw); s == "true" || s == "false" {
			return s, nil
		}
		return "", errors.New("the value is not true or false without quotes")
	case typeNumber:
		if isNumber {
			return string(raw), nil
		}
		return "", errors.New("the value is not a number without quotes")
	case typeList:
		var list []string
		if isText {
			return text, nil
		}
		if raw[0] == '[' && json.Unmarshal(raw, &list) == nil {
			return strings.Join(list, ","), nil
		}
		return "", errors.New(`the value is not a list of strings such as ["a", "b"]`)
	default:
		// A number will do where a text is wanted: "metrics-bind-address: 0".
		if isNumber {
			return string(raw), nil
		}
		if isText {
			return text, nil
		}
		// YAML makes these of the words on and off.
		if word, ok := map[string]string{"true": "on", "false": "off"}[string(raw)]; ok {
			return word, nil
		}
		return "", errors.New("the value is not a string; put it in quotes")
	}
}
