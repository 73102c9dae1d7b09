// SPDX-License-Identifier: Apache-2.0

package password

import (
	"crypto/subtle"
	"encoding/base64"
	"strings"
)

// standInPrefix marks a print among hashes: no bcrypt hash begins with it, and
// [CheckHash] refuses what does.
const standInPrefix = "$hmac$"

// Print returns text that stands for a bcrypt hash of plain in this process's
// memory: this Hasher's Matches and its places' take it for one, and no other
// Hasher's do. It is made in a microsecond, where a hash takes fifty
// milliseconds. Its key is random and dies with the process. It is never to be
// stored outside of it, nor logged.
func (h *Hasher) StandIn(plain []byte) string {
	sum := h.standIns.Of(plain)
	return standInPrefix + base64.RawStdEncoding.EncodeToString(sum[:])
}

// IsStandIn tells whether what stands for a hash is a print, of whatever process.
func IsStandIn(hash string) bool { return strings.HasPrefix(hash, standInPrefix) }

// isStandInOf tells whether hash is this Hasher's print of plain.
func (h *Hasher) isStandInOf(hash string, plain []byte) bool {
	return subtle.ConstantTimeCompare([]byte(hash), []byte(h.StandIn(plain))) == 1
}
