// SPDX-License-Identifier: Apache-2.0

package password

import (
	_ "embed"
	"strings"
	"sync"
)

// commonList is described, with source and licence, in NOTICE.
//
//go:embed common.txt
var commonList string

// systemDefaults are the passwords with which the sharding system creates its
// accounts admin, operator and viewer.
var systemDefaults = []string{"admin123", "operator123", "viewer123"}

// wellKnown is built at the first question: most commands and tests ask none.
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

// WellKnown tells whether plain is, but for upper and lower case, one of the
// sharding system's default passwords or of the 5,000 commonest of at least 6
// characters.
func WellKnown(plain []byte) bool {
	_, ok := wellKnown()[strings.ToLower(string(plain))]
	return ok
}
