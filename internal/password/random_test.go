// SPDX-License-Identifier: Apache-2.0

package password_test

import (
	"regexp"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/password"
)

func TestRandomPasswordsHaveTheirLengthAndDiffer(t *testing.T) {
	plain := regexp.MustCompile(`^[A-Z2-7]+$`)
	seen := map[string]bool{}
	for _, length := range []int{1, 16, 24, 26, 27, 52, 53, 72} {
		text := password.Random(length)
		if len(text) != length || !plain.MatchString(text) {
			t.Errorf("of %d characters: one of %d", length, len(text))
		}
	}
	if n := len(password.Random(73)); n != password.MaxBytes {
		t.Errorf("one that is too long for bcrypt has %d characters", n)
	}
	for range 1000 {
		seen[password.Random(16)] = true
	}
	if len(seen) != 1000 {
		t.Errorf("of a thousand %d differ", len(seen))
	}
}
