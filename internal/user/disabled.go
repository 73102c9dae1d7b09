// SPDX-License-Identifier: Apache-2.0

package user

import (
	"regexp"
	"slices"
)

// An inactive row has a disabled hash, because a program may check a password before it checks the column active. See
// docs/adr/0017-an-inactive-row-has-a-disabled-hash.md.

// EnabledHashPattern and DisabledHashPattern match the beginning of a hash in crypt(3) format, enabled and disabled.
// They mean the same in Postgres.
//
// They cover what bcrypt libraries accept beyond the format. Go's library reads only the first byte of the version,
// which is at most 2, and the length, so a hash may have no second $ or no identifier before it. A disabled hash that
// begins with !$ stays disabled: it is how a DBA locks an account.
const (
	EnabledHashPattern  = `^[$]([0-9A-Za-z-]+[$]|[^3-~](.|\n){57})`
	DisabledHashPattern = `^!([0-9A-Za-z-]+[$]|[^3-~$](.|\n){57})`
)

var (
	enabledHash  = regexp.MustCompile(EnabledHashPattern)
	disabledHash = regexp.MustCompile(DisabledHashPattern)
)

// DisabledHash returns the hash with "!" in place of the leading "$", so that no password matches. The length stays the
// same. A text that is not a hash is returned unchanged.
func DisabledHash(hash string) string {
	if !enabledHash.MatchString(hash) {
		return hash
	}
	return "!" + hash[1:]
}

// EnabledHash undoes DisabledHash. A text that is not a disabled hash is returned unchanged.
func EnabledHash(hash string) string {
	if !disabledHash.MatchString(hash) {
		return hash
	}
	return "$" + hash[1:]
}

// NeedsDisabledHash reports whether the row is inactive and a password can match its hash.
func (r *Row) NeedsDisabledHash() bool {
	return r != nil && !r.Active && DisabledHash(r.PasswordHash) != r.PasswordHash
}

// hashFor returns the hash of a row that is to be active or not. A hash that is disabled because the row is or becomes
// inactive is returned enabled. A disabled hash of an active row was written by another program and stays.
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

// DisablesHash reports whether the change can put a disabled hash into the row.
func (c Change) DisablesHash() bool {
	if c.Verb == Create && (c.Password == nil || DisabledHash(c.Password.Hash) == c.Password.Hash) {
		return false
	}
	return c.WritesHash() && c.leavesInactive() && !c.KeepHash
}

// OnlyDisablesHash reports whether the change only replaces a hash by its disabled form.
func (c Change) OnlyDisablesHash() bool {
	return c.Verb == Update && c.DisablesHash() && len(c.Write) == 1 && (c.Password == nil || c.Password.Hash == "")
}

// leavesInactive reports whether the row is inactive after the change.
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

// NewHash returns the hash that a Create, Adopt or Update writes; "" if the row's own hash stays and is only disabled
// or enabled.
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

// HashAfter returns the hash of the row after a change that writes the column: disabled if the row is then inactive,
// enabled if the change activates the row.
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
