// SPDX-License-Identifier: Apache-2.0

package user

import (
	"slices"
	"strings"
)

// The sharding manager inserts three accounts into an empty table. Their hashes are constants of that program, in all of its
// versions, and the passwords are in its documentation.

// A defaultAccount is one of them.
type defaultAccount struct {
	username string // and its only role
	rest     string // of the hash, after the version of bcrypt
}

var defaultAccounts = []defaultAccount{
	{"admin", "$10$LtlhX7.r1Rf9Fl7XjR9VKeaZvwU7PJK6tlWF5rXdxe1fg55wurAnW"},
	{"operator", "$10$oDZulSnupJh0OdVrJImYNO/HrxjmUx8QA.ICMSA/Pdskkdwd68.bu"},
	{"viewer", "$10$QyJBIVEeUVYYYdRELwpeLe7E5y2vvDIWdIMlIoXOjQCYWj2ozssDG"},
}

// versions are how a bcrypt hash may begin. The same password matches with each of them.
var versions = []string{"$2", "$2a", "$2b", "$2x", "$2y"}

// DefaultHashes returns the hashes that match a default password of the sharding manager, in all spellings.
func DefaultHashes() []string {
	var hashes []string
	for _, account := range defaultAccounts {
		for _, version := range versions {
			hashes = append(hashes, version+account.rest)
		}
	}
	return hashes
}

// DefaultHash reports whether a hash is one of a default password of the sharding manager. A disabled hash counts too:
// it has "!" in place of its first "$" and matches again when the account is active.
func DefaultHash(hash string) bool {
	return slices.ContainsFunc(defaultAccounts, func(a defaultAccount) bool { return a.hasHash(hash) })
}

func (a defaultAccount) hasHash(hash string) bool {
	if shut, ok := strings.CutPrefix(hash, "!"); ok {
		hash = "$" + shut
	}
	version, _, ok := strings.Cut(hash, a.rest) // bcrypt ignores what follows the hash, such as a newline
	return ok && slices.Contains(versions, version)
}

// DefaultUsernames returns the usernames of the sharding manager's default accounts, the administrator's first.
func DefaultUsernames() []string {
	names := make([]string, 0, len(defaultAccounts))
	for _, account := range defaultAccounts {
		names = append(names, account.username)
	}
	return names
}

// Untouched reports whether a row is a default account as the sharding manager inserted it: username, hash, role,
// active. Logins, successful or not, do not matter.
func Untouched(username string, row Row) bool {
	return slices.ContainsFunc(defaultAccounts, func(a defaultAccount) bool {
		return a.username == username && row.Active && !strings.HasPrefix(row.PasswordHash, "!") && a.hasHash(row.PasswordHash) &&
			!row.RolesMalformed && sameRoles(row.Roles, []string{username})
	})
}
