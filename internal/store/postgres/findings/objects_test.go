// SPDX-License-Identifier: Apache-2.0

package findings

import "testing"

func TestVersionsOfPostgresThatAreSupportedAreNoFinding(t *testing.T) {
	t.Parallel()
	for number, want := range map[string]int{
		"130022": 1, "140000": 0, "150004": 0, "160010": 0, "170005": 0, "180001": 0, "190000": 1, "90624": 1,
	} {
		if got := serverVersionFinding(number); len(got) != want {
			t.Errorf("%s: %v", number, got)
		}
	}
}
