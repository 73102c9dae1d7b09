// SPDX-License-Identifier: Apache-2.0

// Package password says what a valid password and a valid password hash are,
// and makes and checks bcrypt hashes on a bounded number of cores.
//
// Go's bcrypt is laxer than the product may be: it compares only the first 72
// bytes of a password, repeats a password past its NUL, accepts the "$2x$" of
// a broken implementation and every cost from 4 to 31. So nothing reaches
// bcrypt here before [Check] or [CheckHash] has let it pass.
//
// No error of this package quotes a password or a hash: each text is fit for a
// condition's message, an Event or a log.
package password

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"
)

// MaxBytes is the length of the longest password that bcrypt takes in whole.
const MaxBytes = 72

// The reasons for which [Check] refuses a password.
var (
	ErrEmpty    = errors.New("the password is empty: choose one of at least one character")
	ErrNotUTF8  = errors.New("the password is not UTF-8 text: choose one that is")
	ErrNUL      = errors.New("the password holds a NUL byte, past which bcrypt does not read: choose one without")
	ErrTooLong  = errors.New("the password is longer than 72 bytes, of which bcrypt reads no more: choose a shorter one")
	ErrTooShort = errors.New("the password is too short")
)

// Trim drops one trailing newline, which an editor or kubectl's --from-file
// leaves behind in a Secret's value. Every other byte stays, a carriage return
// or a second newline among them. The result shares value's memory.
func Trim(value []byte) []byte {
	return bytes.TrimSuffix(value, []byte("\n"))
}

// Check tells whether plain may become a password: UTF-8 text without NUL, of
// minLength characters (Unicode code points, not bytes) or more and of at most
// [MaxBytes] bytes. The empty password is refused whatever minLength says.
// The error is one of this package's sentinels, for [errors.Is].
func Check(plain []byte, minLength int) error {
	if err := checkBytes(plain); err != nil {
		return err
	}
	if !utf8.Valid(plain) {
		return ErrNotUTF8
	}
	if utf8.RuneCount(plain) < minLength {
		return fmt.Errorf("%w: choose one of at least %d characters", ErrTooShort, minLength)
	}
	return nil
}

// checkBytes refuses what bcrypt would mistake for another password.
func checkBytes(plain []byte) error {
	switch {
	case len(plain) == 0:
		return ErrEmpty
	case len(plain) > MaxBytes:
		return ErrTooLong
	case bytes.IndexByte(plain, 0) >= 0:
		return ErrNUL
	}
	return nil
}
