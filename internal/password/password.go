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
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxBytes is the length of the longest password that bcrypt takes in whole.
const MaxBytes = 72

// The reasons for which [Check] refuses a password.
var (
	ErrEmpty    = errors.New("the password is empty: choose one with at least one character")
	ErrNotUTF8  = errors.New("the password is not UTF-8 text: choose one that is UTF-8")
	ErrNUL      = errors.New("the password contains a NUL byte, where bcrypt stops reading: choose one without it")
	ErrTooLong  = errors.New("the password is longer than 72 bytes, the most that bcrypt reads: choose a shorter one")
	ErrTooShort = errors.New("the password is too short")
	ErrMark     = errors.New("the password contains a byte order mark: save the file as UTF-8 without one")
	ErrControl  = errors.New("the password contains a control character, such as a tab, an escape or a line ending within the text, which " +
		"login forms do not accept: choose one without it")
	ErrHashed = errors.New("the password looks like a password hash")
)

// mark is the byte order mark, in UTF-8.
const mark = "\uFEFF"

// Trim drops one trailing line ending, \n or \r\n, which an editor or kubectl's --from-file leaves behind in a Secret's value.
// Every other byte stays, a second line ending among them. The result shares value's memory.
func Trim(value []byte) []byte {
	if rest, ok := bytes.CutSuffix(value, []byte("\n")); ok {
		return bytes.TrimSuffix(rest, []byte("\r"))
	}
	return value
}

// Check tells whether plain may become a password: UTF-8 text without NUL, of
// minLength characters (Unicode code points, not bytes) or more and of at most
// [MaxBytes] bytes. The empty password is refused whatever minLength says, and so is
// one that nobody can have meant: with a byte order mark or control characters, but for
// line endings at its end, or that is a hash of a password.
// The error wraps one of this package's sentinels, for [errors.Is], and says what the value looks like where that helps.
func Check(plain []byte, minLength int) error {
	err := checkBytes(plain)
	switch {
	case err != nil:
	case !utf8.Valid(plain):
		err = ErrNotUTF8
	default:
		return checkText(string(plain), minLength)
	}
	if looks := lookOf(plain); looks != "" {
		return fmt.Errorf("%w; it %s", err, looks)
	}
	return err
}

// checkText checks what is UTF-8 already.
func checkText(plain string, minLength int) error {
	text := trimLines(plain)
	switch {
	case text == "":
		return ErrEmpty
	case strings.Contains(text, mark):
		return ErrMark
	}
	if scheme := hashScheme(text); scheme != nil {
		return fmt.Errorf("%w (%s): %s", ErrHashed, scheme.name, scheme.advice())
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		if looks := lookOf([]byte(plain)); looks != "" {
			return fmt.Errorf("%w; it %s", ErrControl, looks)
		}
		return ErrControl
	}
	if utf8.RuneCountInString(plain) < minLength {
		return fmt.Errorf("%w: choose one with at least %d characters", ErrTooShort, minLength)
	}
	return nil
}

// trimLines is the text without the line endings at its end.
func trimLines(text string) string {
	for {
		shorter := string(Trim([]byte(text)))
		if shorter == text {
			return text
		}
		text = shorter
	}
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
