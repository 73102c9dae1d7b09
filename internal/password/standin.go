// SPDX-License-Identifier: Apache-2.0

package password

import (
	"crypto/subtle"
	"encoding/base64"
	"strings"
)

// standInPrefix marks a stand-in hash. No bcrypt hash begins with it, and [CheckHash] rejects it.
const standInPrefix = "$hmac$"

// StandIn returns a text that stands for a bcrypt hash of plain in the memory of this process. Only this Hasher accepts
// it. It takes a microsecond, and a hash takes 50 milliseconds. Its key is random and ends with the process. Never
// store or log it.
func (h *Hasher) StandIn(plain []byte) string {
	sum := h.standIns.Of(plain)
	return standInPrefix + base64.RawStdEncoding.EncodeToString(sum[:])
}

// IsStandIn reports whether a text is a stand-in hash, of any process.
func IsStandIn(hash string) bool { return strings.HasPrefix(hash, standInPrefix) }

// isStandInOf reports whether hash is this Hasher's stand-in hash of plain.
func (h *Hasher) isStandInOf(hash string, plain []byte) bool {
	return subtle.ConstantTimeCompare([]byte(hash), []byte(h.StandIn(plain))) == 1
}
