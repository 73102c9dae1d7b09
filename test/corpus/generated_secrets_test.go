// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// A valid hash is a bcrypt hash of cost 10 to 14 and nothing else, except for one line ending of an editor.
var usableHash = regexp.MustCompile(`\A\$2[aby]\$1[0-4]\$[./A-Za-z0-9]{53}(\r?\n)?\z`)

// lineEnding is the ignored one at the end. moreLineEndings are those that may precede it.
var (
	lineEnding      = regexp.MustCompile(`\r?\n\z`)
	moreLineEndings = regexp.MustCompile(`(\r?\n)+\z`)
)

// aPassword is the base of the generated passwords.
const aPassword = canary + "-word"

// step is the distance of the changed places in a text: under -short not every place is changed.
func step() int {
	if testing.Short() {
		return 3 // with which all kinds of change are left
	}
	return 1
}

func generatedSecrets() (cases []secret) {
	seen := map[string]bool{aHash: true} // which is among those by hand
	hash := func(name, value string) {
		if seen[value] {
			return
		}
		seen[value] = true
		reason := "PasswordInvalid"
		if usableHash.MatchString(value) {
			reason = "Synced"
		}
		cases = append(cases, secret{Name: name, Value: value, Format: "Bcrypt", Reason: reason})
	}
	for i := 0; i < len(aHash); i += step() {
		hash(fmt.Sprintf("the first %d characters of a hash", i), aHash[:i])
		c := string("+=- \n\x00\u0080$Z"[i%10])
		hash(fmt.Sprintf("a hash whose character %d is %+q", i, c), aHash[:i]+c+aHash[i+1:])
	}
	for cost := range 20 {
		hash(fmt.Sprintf("a hash of cost %02d", cost), fmt.Sprintf("%s%02d%s", aHash[:4], cost, aHash[6:]))
	}
	for c := 'a'; c <= 'z'; c++ {
		hash(fmt.Sprintf("a hash of version 2%c", c), aHash[:2]+string(c)+aHash[3:])
	}
	for _, around := range []string{" ", "\n", "\n\n", "\r\n", "\t", "\x00", "'", "\"", "\ufeff", "a"} {
		hash(fmt.Sprintf("a hash with %+q after it", around), aHash+around)
		hash(fmt.Sprintf("a hash with %+q before it", around), around+aHash)
	}
	return append(cases, generatedPasswords()...)
}

// A valid password has 8 characters to 72 bytes of UTF-8 without control characters. One line ending at the end is
// ignored, and more of them do no harm.
func usablePassword(value string) bool {
	value = lineEnding.ReplaceAllString(value, "")
	text := moreLineEndings.ReplaceAllString(value, "")
	return utf8.ValidString(value) && text != "" && !strings.ContainsFunc(text, unicode.IsControl) &&
		utf8.RuneCountInString(value) >= 8 && len(value) <= 72
}

func generatedPasswords() (cases []secret) {
	plain := func(name, value string) {
		reason := "PasswordInvalid"
		if usablePassword(value) {
			reason = "Synced"
		}
		cases = append(cases, secret{Name: name, Value: value, Reason: reason})
	}
	for _, c := range []string{"c", "ß", "語", "😀"} {
		most := 72 / len(c)
		for _, length := range []int{1, 7, 8, most, most + 1, 1000} {
			plain(fmt.Sprintf("a password of %d times %s", length, c), strings.Repeat(c, length))
		}
	}
	for i := 0; i <= len(aPassword); i += step() {
		plain(fmt.Sprintf("a password with a NUL after %d characters", i), aPassword[:i]+"\x00"+aPassword[i:])
	}
	// Too long, cut within a character, a surrogate, beyond Unicode, an invalid byte, and Latin-1.
	for _, bad := range []string{"\xc0\x80", "\xe2\x82", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "\xe4"} {
		for i, place := range []int{0, len(aPassword) / 2, len(aPassword)} {
			plain(fmt.Sprintf("a password with %+q at place %d", bad, i), aPassword[:place]+bad+aPassword[place:])
		}
	}
	for _, end := range []string{"\n", "\n\n", "\r\n", "\r", " ", "\t", "\u2028", "\u0085", "\u200b"} {
		plain(fmt.Sprintf("a password with %+q after it", end), aPassword+end)
		plain(fmt.Sprintf("a password of 72 bytes with %+q after it", end), strings.Repeat("c", 72)+end)
		plain(fmt.Sprintf("nothing but %+q", end), end)
	}
	return cases
}
