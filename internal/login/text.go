// SPDX-License-Identifier: Apache-2.0

package login

import (
	"strings"
	"unicode/utf8"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// possible reports whether an account can have this username. Other usernames are not looked up, since some databases fail to
// encode them.
func possible(username string) bool {
	return username != "" && utf8.ValidString(username) && !strings.ContainsRune(username, 0) &&
		utf8.RuneCountInString(username) <= store.MaxUsername
}

// carries reports whether an HTTP header transports the text unchanged: without spaces, which are trimmed, and without control
// characters, which end it or are replaced.
func carries(text string) bool {
	return text != "" && utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// carriedRoles returns the roles as a header's comma-separated list. It omits roles that the reader would see as another role or
// as two, since a missing role is safer than a wrong one.
func carriedRoles(roles []string) string {
	var carried []string
	for _, role := range roles {
		if carries(role) && !strings.Contains(role, ",") {
			carried = append(carried, role)
		}
	}
	return strings.Join(carried, ",")
}
