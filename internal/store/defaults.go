// SPDX-License-Identifier: Apache-2.0

package store

import "unicode"

// DefaultPasswords are the active accounts, owned or not, with a hash of a default password of the sharding manager.
type DefaultPasswords struct {
	Count     int
	Usernames []string // the first of them, by their bytes; MostDefaultPasswords at most
}

// MostDefaultPasswords is the largest number of usernames that DefaultPasswords lists.
const MostDefaultPasswords = 100

// Clean returns the list in printable characters: other programs write usernames.
func (p DefaultPasswords) Clean() DefaultPasswords {
	usernames := make([]string, 0, len(p.Usernames))
	for _, username := range p.Usernames {
		usernames = append(usernames, printable(username, mostText, unicode.MaxRune))
	}
	p.Usernames = usernames
	return p
}

// Beginning decides whether the operator may take over the accounts that the sharding manager creates for itself.
type Beginning struct {
	// Accounts are those of the table, up to the limit that was asked for.
	Accounts []Account

	// Used reports whether an operator keeps or kept an account in the database. In doubt it is true.
	Used bool
}
