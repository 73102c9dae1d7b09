// SPDX-License-Identifier: Apache-2.0

// Package password defines valid passwords and password hashes, and creates and compares bcrypt hashes on a limited
// number of cores.
//
// Go's bcrypt is too lax for the operator. It compares only the first 72 bytes of a password, repeats a password after
// its NUL, accepts "$2x$" of a faulty implementation, and every cost from 4 to 31. So every value passes [Check] or
// [CheckHash] before bcrypt.
//
// No error of this package contains a password or a hash, so each can be part of a condition, an Event or a log line.
package password

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxBytes is the length of the longest password that bcrypt reads completely.
const MaxBytes = 72

// The errors of [Check].
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

// mark is the byte order mark in UTF-8.
const mark = "\uFEFF"

// Trim removes one trailing line ending, \n or \r\n, that an editor or kubectl's --from-file adds to a Secret's value.
// All other bytes stay. The result shares the memory of value.
func Trim(value []byte) []byte {
	if rest, ok := bytes.CutSuffix(value, []byte("\n")); ok {
		return bytes.TrimSuffix(rest, []byte("\r"))
	}
	return value
}

// Check checks that plain can be a password: UTF-8 text without NUL, of at least minLength characters (Unicode code
// points) and at most [MaxBytes] bytes. It also rejects the empty password and obvious mistakes: a byte order mark,
// control characters except for line endings at the end, and password hashes. The error wraps one of this package's
// sentinels, and says what the value looks like if that helps.
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

// checkText checks UTF-8 text.
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

// trimLines removes the line endings at the end.
func trimLines(text string) string {
	for {
		shorter := string(Trim([]byte(text)))
		if shorter == text {
			return text
		}
		text = shorter
	}
}

// checkBytes rejects what bcrypt would take for another password.
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
