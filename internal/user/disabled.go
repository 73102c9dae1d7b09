// SPDX-License-Identifier: Apache-2.0

package user

import (
	"regexp"
	"slices"
)

// An inactive row holds a disabled hash, since a program may accept a password before it looks at the column active. See
// docs/adr/0017-an-inactive-row-has-a-disabled-hash.md.

// The beginning of a hash as crypt(3) writes it, and of one that is disabled. The expressions mean the same in Postgres.
//
// Libraries of bcrypt accept more than that: Go's reads the first byte of the version, which is at most 2, and the length, and neither
// the rest of the version nor the separators. Such a hash has no second $, or is no identifier before it. It is disabled as well. One that
// begins with $$ does not come back: !$2a$ is how a DBA locks an account.
const (
	EnabledHashPattern  = `^[$]([0-9A-Za-z-]+[$]|[^3-~](.|\n){57})`
	DisabledHashPattern = `^!([0-9A-Za-z-]+[$]|[^3-~$](.|\n){57})`
)

var (
	enabledHash  = regexp.MustCompile(EnabledHashPattern)
	disabledHash = regexp.MustCompile(DisabledHashPattern)
)

// DisabledHash returns the hash with ! in place of the leading $, so that no password matches it. Its length stays. It returns
// what is no hash as it is.
func DisabledHash(hash string) string {
	if !enabledHash.MatchString(hash) {
		return hash
	}
	return "!" + hash[1:]
}

// EnabledHash undoes DisabledHash. It returns what is no disabled hash as it is.
func EnabledHash(hash string) string {
	if !disabledHash.MatchString(hash) {
		return hash
	}
	return "$" + hash[1:]
}

// NeedsDisabledHash reports whether the row is inactive and its hash is one that a password may match.
func (r *Row) NeedsDisabledHash() bool {
	return r != nil && !r.Active && DisabledHash(r.PasswordHash) != r.PasswordHash
}

// hashFor is the hash of a row that is to be active or not, enabled where it is disabled because the row is inactive or to be so. A
// disabled hash of an active row is another program's.
func (r *Row) hashFor(active bool) string {
	if r.Active && active {
		return r.PasswordHash
	}
	return EnabledHash(r.PasswordHash)
}

// WritesHash reports whether the change writes the column password_hash.
func (c Change) WritesHash() bool {
	isAsked := slices.Contains(c.Write, FieldPasswordHash)
	keeps := c.KeepHash && c.leavesInactive()
	switch c.Verb {
	case Create:
		return true
	case Adopt:
		return c.NewHash() != "" || isAsked && !keeps
	case Update:
		return isAsked && (c.NewHash() != "" || !keeps)
	case Deactivate, Suspend:
		return !keeps
	case Nothing, Delete, Release, Bury:
	}
	return false
}

// DisablesHash reports whether the change may put a disabled hash into the row.
func (c Change) DisablesHash() bool {
	if c.Verb == Create && (c.Password == nil || DisabledHash(c.Password.Hash) == c.Password.Hash) {
		return false
	}
	return c.WritesHash() && c.leavesInactive() && !c.KeepHash
}

// OnlyDisablesHash reports whether all that the change writes is a disabled hash, in place of the same hash.
func (c Change) OnlyDisablesHash() bool {
	return c.Verb == Update && c.DisablesHash() && len(c.Write) == 1 && (c.Password == nil || c.Password.Hash == "")
}

// leavesInactive reports whether the change leaves a row inactive.
func (c Change) leavesInactive() bool {
	switch c.Verb {
	case Create, Adopt, Update:
		return !c.Active
	case Deactivate, Suspend:
		return true
	case Nothing, Delete, Release, Bury:
	}
	return false
}

// NewHash returns the hash that a Create, Adopt or Update puts into the column; "" where the row's own hash stays, which is then
// disabled or enabled.
func (c Change) NewHash() string {
	hash := ""
	if c.Password != nil {
		hash = c.Password.Hash
	}
	if hash == "" && c.Verb == Create {
		hash = UnusablePassword
	}
	if c.leavesInactive() && !c.KeepHash {
		return DisabledHash(hash)
	}
	return hash
}

// HashAfter returns the hash that a row has after a change that writes the column. It is disabled where the row is inactive then,
// and enabled again where the change activates the row.
func (c Change) HashAfter(before Row) string {
	hash := c.NewHash()
	switch {
	case hash != "":
		return hash
	case !c.leavesInactive():
		return before.hashFor(true)
	case c.KeepHash:
		return before.PasswordHash
	}
	return DisabledHash(before.PasswordHash)
}
