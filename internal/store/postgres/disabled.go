// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"strings"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// The results of user.DisabledHash and user.EnabledHash for the row's hash. The cast of the column makes each operator one of text.
const (
	needsDisabledHash = `u.password_hash::text ~ '` + user.EnabledHashPattern + `'::text`

	disabledHash = `CASE WHEN ` + needsDisabledHash + ` THEN '!'::text || pg_catalog.substr(u.password_hash::text, 2) ELSE u.password_hash::text END`

	// A disabled hash of an active row is that of another program, and stays.
	enabledHash = `CASE WHEN u.active IS NOT TRUE AND u.password_hash::text ~ '` + user.DisabledHashPattern + `'::text
        THEN '$'::text || pg_catalog.substr(u.password_hash::text, 2) ELSE u.password_hash::text END`
)

// hashAfter returns what the change writes into the column password_hash, as user.Change.HashAfter returns it.
func hashAfter(change user.Change) string {
	switch {
	case change.NewHash() != "":
		return "@password_hash::text"
	case change.DisablesHash():
		return disabledHash
	}
	return enabledHash
}

// deactivation returns the step that deactivates a row.
func deactivation(change user.Change) string {
	also, open := "", ""
	if change.WritesHash() {
		also, open = ", password_hash = "+hashAfter(change), " OR "+needsDisabledHash
	}
	return strings.NewReplacer("%[2]s", also, "%[3]s", open).Replace(deactivateRow)
}
