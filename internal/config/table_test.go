// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"
)

func TestEveryLineOfTheTableIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, section := range Table() {
		for _, s := range section.Settings {
			if seen[s.Name] {
				t.Errorf("--%s is there twice", s.Name)
			}
			seen[s.Name] = true
			if s.Help == "" || (s.Unit == "") != (s.Value.Type() == typeBool) {
				t.Errorf("--%s has the unit %q and the help %q", s.Name, s.Unit, s.Help)
			}
			if s.Default != "" && s.Absent != "" {
				t.Errorf("--%s has the default %s, so nothing holds in its absence", s.Name, s.Default)
			}
			if strings.HasSuffix(s.Help, ".") || strings.Contains(s.Help, "|") {
				t.Errorf("--%s: the help is a cell of a table, without a period: %q", s.Name, s.Help)
			}
		}
	}
}

// A default is parsed and printed again without a change, so that it is the same everywhere.
func TestDefaultsAreWrittenInOneWay(t *testing.T) {
	for _, section := range Table() {
		for _, s := range section.Settings {
			if s.Default == "" {
				continue
			}
			if err := s.Value.Set(s.Default); err != nil {
				t.Errorf("--%s=%s: not %v", s.Name, s.Default, err)
			}
			first := s.Value.String()
			if err := s.Value.Set(first); err != nil || s.Value.String() != first {
				t.Errorf("--%s=%s becomes %s, then %s: %v", s.Name, s.Default, first, s.Value, err)
			}
		}
	}
}
