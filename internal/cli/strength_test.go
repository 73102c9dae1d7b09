// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/password"
)

func TestStrength(t *testing.T) {
	for name, tt := range map[string]struct {
		plain    string
		min, max int
	}{
		"a well-known one has none":               {"admin123", 0, 0},
		"a word with a digit is little":           {"Sunshine7", 0, 1},
		"the username is little":                  {"alice.example", 0, 1},
		"four words are much":                     {"correct horse battery staple", 4, 4},
		"random characters are much":              {password.Random(minGenerated), 4, 4},
		"so are the most that bcrypt takes":       {strings.Repeat("aB3$xY", 12), 1, 4},
		"so are characters that are not of ASCII": {"пароль-из-слов-и-дел", 3, 4},
	} {
		t.Run(name, func(t *testing.T) {
			got := strengthOf([]byte(tt.plain), "alice.example")
			if got.Score < tt.min || got.Score > tt.max {
				t.Errorf("%s, want %d to %d", got, tt.min, tt.max)
			}
			if strings.Contains(got.String(), tt.plain) {
				t.Errorf("it tells the password: %s", got)
			}
		})
	}
}
