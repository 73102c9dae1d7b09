// SPDX-License-Identifier: Apache-2.0

package password

import (
	_ "embed"
	"strings"
	"sync"
)

// commonList is described in NOTICE, with source and licence.
//
//go:embed common.txt
var commonList string

// systemDefaults are the passwords of the accounts admin, operator and viewer that the sharding system creates.
var systemDefaults = []string{"admin123", "operator123", "viewer123"}

// wellKnown is built on first use, because most commands and tests do not need it.
var wellKnown = sync.OnceValue(func() map[string]struct{} {
	set := make(map[string]struct{}, 5000)
	for word := range strings.Lines(commonList) {
		set[strings.TrimSuffix(word, "\n")] = struct{}{}
	}
	for _, word := range systemDefaults {
		set[word] = struct{}{}
	}
	return set
})

// WellKnown reports whether plain is a default password of the sharding system or one of the 5,000 most common
// passwords of at least 6 characters. Case does not matter.
func WellKnown(plain []byte) bool {
	_, ok := wellKnown()[strings.ToLower(string(plain))]
	return ok
}
