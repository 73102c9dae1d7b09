// SPDX-License-Identifier: Apache-2.0

package login

import (
	"strings"
	"unicode/utf8"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// possible tells whether there can be an account of this name, whoever made it. No other is to be looked up: some
// databases fail at the question.
func possible(username string) bool {
	return username != "" && utf8.ValidString(username) && !strings.ContainsRune(username, 0) &&
		utf8.RuneCountInString(username) <= store.MaxUsername
}

// carries tells whether an HTTP header brings the text to its reader unchanged: without spaces, which are trimmed, and
// without control characters, which end it or are replaced.
func carries(text string) bool {
	return text != "" && utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// carriedRoles are the roles for a header's comma-separated list. One that the list would bring to its reader as
// another, or as two, is left out: a right too few is the safe mistake.
func carriedRoles(roles []string) string {
	var carried []string
	for _, role := range roles {
		if carries(role) && !strings.Contains(role, ",") {
			carried = append(carried, role)
		}
	}
	return strings.Join(carried, ",")
}
