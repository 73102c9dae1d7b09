// SPDX-License-Identifier: Apache-2.0

package password

import (
	"crypto/subtle"
	"encoding/base64"
	"strings"
)

// printPrefix marks a print among hashes: no bcrypt hash begins with it, and
// [CheckHash] refuses what does.
const printPrefix = "$hmac$"

// Print returns text that stands for a bcrypt hash of plain in this process's
// memory: this Hasher's Matches and its places' take it for one, and no other
// Hasher's do. It is made in a microsecond, where a hash takes fifty
// milliseconds. Its key is random and dies with the process. It is never to be
// stored outside of it, nor logged.
func (h *Hasher) Print(plain []byte) string {
	sum := h.prints.Of(plain)
	return printPrefix + base64.RawStdEncoding.EncodeToString(sum[:])
}

// IsPrint tells whether what stands for a hash is a print, of whatever process.
func IsPrint(hash string) bool { return strings.HasPrefix(hash, printPrefix) }

// isPrintOf tells whether hash is this Hasher's print of plain.
func (h *Hasher) isPrintOf(hash string, plain []byte) bool {
	return subtle.ConstantTimeCompare([]byte(hash), []byte(h.Print(plain))) == 1
}
