// SPDX-License-Identifier: Apache-2.0

package user

import (
	"strconv"
	"strings"
)

// SecretValue identifies the value of one key of a Secret at one version.
type SecretValue struct {
	UID             string // of the Secret
	ResourceVersion string // of the Secret
	Key             string
	Format          string
	MinLength       int // required by a policy; 0 if none
}

// Version returns the Password.Version of the value. No part of it contains a slash.
func (v SecretValue) Version() string {
	parts := []string{v.UID, v.ResourceVersion, v.Key, v.Format}
	if v.MinLength > 0 {
		parts = append(parts, strconv.Itoa(v.MinLength))
	}
	return strings.Join(parts, "/")
}

// secretVersion returns the resourceVersion of the Secret whose password is in the row; "" if the row has none. If
// another program overwrites the hash, it is "" until the operator corrects the row.
func secretVersion(o Observed) string {
	own := o.Ownership
	if o.Row == nil || own.PasswordHash == "" || own.PasswordHash != o.Row.hashFor(true) {
		return ""
	}
	return SecretResourceVersion(own.PasswordVersion)
}

// SecretResourceVersion returns the resourceVersion of the Secret in a Password.Version; "" if it names no existing Secret.
func SecretResourceVersion(version string) string {
	parts := strings.Split(version, "/")
	if len(parts) < 4 {
		return ""
	}
	return parts[1]
}
