// SPDX-License-Identifier: Apache-2.0

package password

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
)

// A Fingerprint stands for one password in this process's memory. Two of the
// same [Fingerprinter] are equal exactly when their passwords are.
type Fingerprint [sha256.Size]byte

// A Fingerprinter recognises a password that was seen before without the cost
// of bcrypt. Its key is random and dies with the process, so that a
// fingerprint that got out tells nothing; none is ever to be stored or logged
// all the same. It may be used by any number of goroutines.
type Fingerprinter struct {
	key [sha256.Size]byte
}

// NewFingerprinter returns a Fingerprinter with a key of its own.
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
