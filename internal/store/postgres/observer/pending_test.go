// SPDX-License-Identifier: Apache-2.0

package observer

import (
	"fmt"
	"strings"
	"testing"
)

func TestPendingNamesAreBoundedInNumberAndBytes(t *testing.T) {
	for length, want := range map[int]int{10: mostPending, 1000: mostPendingBytes / 1000} {
		var p pending
		for n := range mostPending + 1 {
			if isKept := p.add(fmt.Sprintf("%0*d", length, n)); isKept != (n < want) {
				t.Fatalf("name %d of %d bytes is kept: %v", n, length, isKept)
			}
		}
		if !p.add(fmt.Sprintf("%0*d", length, 0)) {
			t.Error("a name that is kept has no room")
		}
		other := pending{}
		other.add(strings.Repeat("o", 1000))
		if p.addAll(other) {
			t.Error("a full set has room for another one")
		}
		if got := len(p.take()); got != want || len(p.names) != 0 || p.bytes != 0 {
			t.Errorf("%d names are taken, want %d; %d are left", got, want, len(p.names))
		}
	}
}
