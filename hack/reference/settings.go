// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"

	"github.com/sharding-system/shardinguser-operator/internal/config"
)

// writeSettings writes the table of settings into docs/configuration.md.
func writeSettings(root *os.Root) error {
	var sections []string
	for _, section := range config.Table() {
		rows := [][]string{{"flag", "default", "meaning"}}
		for _, s := range section.Settings {
			fallback := s.Absent
			if s.Default != "" {
				fallback = "`" + s.Default + "`"
			}
			rows = append(rows, []string{"`--" + s.Name + "`", fallback, s.Help})
		}
		sections = append(sections, "## "+section.Title+"\n\n"+table(rows...))
	}
	return replace(root, "docs/configuration.md", "settings", strings.Join(sections, "\n"))
}
