// SPDX-License-Identifier: Apache-2.0

package password

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
)

// A Fingerprint stands for a password in the memory of this process. Two fingerprints of one [Fingerprinter] are equal
// if and only if their passwords are.
type Fingerprint [sha256.Size]byte

// A Fingerprinter recognises a known password without the cost of bcrypt. Its key is random and ends with the process,
// so a leaked fingerprint reveals nothing. Still, never store or log one. It is safe for concurrent use.
type Fingerprinter struct {
	key [sha256.Size]byte
}

// NewFingerprinter returns a Fingerprinter with its own key.
func NewFingerprinter() *Fingerprinter {
	f := &Fingerprinter{}
	// Never fails: without randomness crypto/rand ends the process.
	_, _ = rand.Read(f.key[:])
	return f
}

// Of returns the fingerprint of plain, HMAC-SHA256 under the key.
func (f *Fingerprinter) Of(plain []byte) Fingerprint {
	mac := hmac.New(sha256.New, f.key[:])
	mac.Write(plain)
	return Fingerprint(mac.Sum(nil))
}
