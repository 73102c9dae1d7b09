// SPDX-License-Identifier: Apache-2.0

package config

import "strings"

// Schema returns the JSON schema of the chart's value that becomes the setting. It has no type for kinds that are no value of
// the chart.
func (s Setting) Schema() map[string]any {
	switch v := s.Value.(type) {
	case number:
		return map[string]any{"type": "integer", "minimum": v.min, "maximum": v.max}
	case duration:
		return map[string]any{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`}
	case choice:
		return map[string]any{"type": "string", "enum": v.of}
	case onOff:
		return map[string]any{"type": "boolean"}
	case names:
		return map[string]any{"type": "array", "uniqueItems": true, "items": matching(v.valid.String())}
	case system:
		return matching("^(" + strings.Trim(namespaceName.String(), "^$") + ")?$")
	case claim:
		return matching(claimText.String())
	case networks:
		return map[string]any{"type": "array", "items": matching(`^[0-9a-fA-F.:]+(/[0-9]{1,3})?$`)}
	}
	return map[string]any{}
}

func matching(pattern string) map[string]any {
	return map[string]any{"type": "string", "pattern": pattern}
}
