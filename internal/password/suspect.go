// SPDX-License-Identifier: Apache-2.0

package password

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// SecretValue is what a Secret has for a user.
type SecretValue struct {
	Value  []byte // under the key, as it is
	Hashed bool   // it is a hash: spec.password.format is Bcrypt
	Login  []byte // the username of a kubernetes.io/basic-auth Secret; nil of any other
}

// Of a Secret of type kubernetes.io/basic-auth, as k8s.io/api names them.
const (
	typeBasicAuth = "kubernetes.io/basic-auth"
	keyOfLogin    = "username"
	keyOfPassword = "password"
)

// FromSecret returns what a Secret of that type gives for a user, whose clear password is under the key.
func FromSecret(secretType, key string, data map[string][]byte) SecretValue {
	given := SecretValue{Value: data[key]}
	if secretType == typeBasicAuth && key == keyOfPassword {
		given.Login = data[keyOfLogin]
	}
	return given
}

// Inspection is what there is to say of what a Secret has. Nothing of it holds any part of the value, but for Value.
type Inspection struct {
	Value     []byte          // what is hashed, or stored as the hash
	Err       error           // why it cannot be used; nil where it can
	Suspicion user.Suspicions // why it is most likely not what was meant, where it can be used
}

// Inspect judges what a Secret has for the user of that name. A password has minLength characters or more.
func (v SecretValue) Inspect(username string, minLength int) Inspection {
	j := Inspection{Value: Trim(v.Value)}
	if v.Hashed {
		if j.Err = CheckHash(string(j.Value)); j.Err != nil && lookOfHash(string(j.Value)) == "" && Check(j.Value, minLength) == nil {
			j.Err = fmt.Errorf("%w; if it is the password itself, set spec.password.format to Plain", j.Err)
		}
	} else {
		j.Err = Check(j.Value, minLength)
	}
	if j.Err != nil {
		return j
	}
	j.Suspicion = user.NewSuspicions(func(s user.Suspicion) bool {
		if s == user.SuspectUsername {
			return len(v.Login) > 0 && string(Trim(v.Login)) != username
		}
		return !v.Hashed && isSuspect(string(j.Value), username, s)
	})
	return j
}

// isSuspect tells whether there is that suspicion about a password that [Check] lets pass.
func isSuspect(plain, username string, s user.Suspicion) bool {
	trimmed := trimEdges(plain)
	text := unquoted(trimmed)
	switch s {
	case user.SuspectBase64:
		return isEncodedText(text)
	case user.SuspectDocument:
		return isDocument(text)
	case user.SuspectAssignment:
		return assignment.MatchString(text)
	case user.SuspectCredentials:
		return username != "" && len(text) > len(username)+1 && strings.HasPrefix(text, username+":")
	case user.SuspectURL:
		return location.MatchString(text)
	case user.SuspectTemplate:
		return template.MatchString(text) || slices.Contains(placeholders, strings.ToLower(text))
	case user.SuspectEscapes:
		return escapes.MatchString(text)
	case user.SuspectTwiceUTF8:
		return isTwiceUTF8(text)
	case user.SuspectQuotes:
		return text != trimmed
	case user.SuspectEdge:
		return trimmed != plain
	case user.SuspectCombining:
		return !norm.NFC.IsNormalString(plain)
	case user.SuspectInvisible:
		return hasInvisible(trimmed)
	case user.SuspectLost:
		return strings.ContainsRune(plain, utf8.RuneError)
	case user.SuspectUsername:
	}
	return false
}

// What names itself by its form alone. Each is tried on the text without quotation marks and edge spaces.
var (
	assignment = regexp.MustCompile(`(?i)^(export\s+|set\s+|-\s+)?["']?[a-z0-9_.-]*(password|passwd|passphrase|secret|token|pass|pwd|pw|key)["']?\s*(:\s|=\s*[^=\s])`)
	location   = regexp.MustCompile(`(?i)^[a-z][a-z0-9+.-]*://\S|^(vault|ref\+[a-z]+):\S|^ENC\[[A-Z0-9_]+,|^<path:`)
	template   = regexp.MustCompile(`^(\$\{[^{}]*\}|\$[A-Z_]{6,}|\$\([^()]*\)|\{\{.*\}\}|<%.*%>|%[A-Za-z_]{2,}%|__[A-Za-z_]+__|<[A-Za-z][A-Za-z _-]*>|\[[A-Za-z][A-Za-z _-]*\])$`)
	escapes    = regexp.MustCompile(`&(amp|lt|gt|quot|apos|nbsp|#[0-9]{2,4}|#x[0-9A-Fa-f]{2,4});|\\u00[0-9A-Fa-f]{2}|(\\r)?\\n$`)
	markup     = regexp.MustCompile(`^<[A-Za-z!?][^<>]*>.*</?[^<>]*>$`)
)

// placeholders are what programs write where a value is missing.
var placeholders = []string{"<no value>", "<nil>", "(null)", "undefined", "[object object]", "%!s(<nil>)"}

// isDocument tells whether the text is JSON (an object or an array), XML or PEM.
func isDocument(text string) bool {
	if strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") {
		return json.Valid([]byte(text))
	}
	return markup.MatchString(text) || strings.HasPrefix(text, "-----BEGIN ")
}

// The shortest texts of which base64 is recognised, in bytes. A random token is base64 as well, and what it decodes to is
// printable by chance: of 8 random bytes one in 2,800 times, of 16 one in 8,000,000 times. Where there is more than ASCII,
// or padding that would have to be there is missing, chance has a better hand.
const (
	minDecoded        = 8
	minDecodedStrange = 12
)

// isEncodedText tells whether the text is base64 of printable text.
func isEncodedText(text string) bool {
	// Base64 of text has letters of both cases, which spares the operator's own passwords, digests and words.
	if text == strings.ToLower(text) || text == strings.ToUpper(text) {
		return false
	}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		decoded, err := encoding.Strict().DecodeString(text)
		if err != nil {
			continue
		}
		least := minDecoded
		if !isASCII(decoded) || len(text)%4 != 0 {
			least = minDecodedStrange
		}
		decoded = Trim(bytes.TrimPrefix(decoded, []byte(mark)))
		if len(decoded) >= least && isPrintable(decoded) || isUTF16(decoded) {
			return true
		}
	}
	return false
}

func isASCII(text []byte) bool {
	return !slices.ContainsFunc(text, func(c byte) bool { return c >= utf8.RuneSelf })
}

func isPrintable(text []byte) bool {
	return utf8.Valid(text) && bytes.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// isTwiceUTF8 tells whether the text is UTF-8 of what was UTF-8 before, and taken for Latin-1.
func isTwiceUTF8(text string) bool {
	latin1, beyond := make([]byte, 0, len(text)), false
	for _, r := range text {
		if r > 0xff {
			return false
		}
		beyond = beyond || r >= utf8.RuneSelf
		latin1 = append(latin1, byte(r)) //nolint:gosec // 255 at most
	}
	return beyond && utf8.Valid(latin1)
}

// pairs are quotation marks that belong together.
var pairs = []struct{ open, close string }{
	{`"`, `"`},
	{"'", "'"},
	{"`", "`"},
	{`\"`, `\"`}, // as JSON within JSON has them
	{"\u201c", "\u201d"},
	{"\u201d", "\u201d"},
	{"\u201e", "\u201c"},
	{"\u2018", "\u2019"},
	{"\u2019", "\u2019"},
	{"\u201a", "\u2018"},
	{"\u00ab", "\u00bb"},
	{"\u00bb", "\u00ab"},
	{"\u00bb", "\u00bb"},
	{"\u2039", "\u203a"},
	{"\u203a", "\u2039"},
	{"\u300c", "\u300d"},
	{"\u300e", "\u300f"},
	{"\uff02", "\uff02"},
	{"\u00b4", "\u00b4"},
	{"`", "\u00b4"},
	{"\u2032", "\u2032"},
	{"\u2033", "\u2033"},
	{`b"`, `"`},
	{"b'", "'"}, // as Python prints bytes
}

// unquoted is the text without one pair of quotation marks around it, and without the comma or semicolon that is copied along
// after them.
func unquoted(text string) string {
	for _, pair := range pairs {
		inner, ok := strings.CutPrefix(text, pair.open)
		if !ok {
			continue
		}
		if strings.HasSuffix(inner, ",") || strings.HasSuffix(inner, ";") {
			inner = inner[:len(inner)-1]
		}
		if inner, ok = strings.CutSuffix(inner, pair.close); ok && inner != "" {
			return inner
		}
	}
	return text
}

// trimEdges is the text without spaces, line endings and invisible characters at its ends.
func trimEdges(text string) string {
	return strings.TrimFunc(text, func(r rune) bool { return unicode.IsSpace(r) || isFormat(r) })
}

// isFormat tells whether the character is one that nobody can see: of zero width, or an order about the text's direction. Those of
// which emoji of flags consist are not among them.
func isFormat(r rune) bool { return unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) && !isTag(r) }

func isTag(r rune) bool { return r >= '\U000E0020' && r <= '\U000E007F' }

// hasInvisible tells whether there are characters in the text that nobody can see, or spaces that no keyboard has. Emoji are joined
// by some of them, several scripts need them, and Japanese keyboards have a wide space.
func hasInvisible(text string) bool {
	before := 'a'
	for _, r := range text {
		isJoiner := r == '\u200c' || r == '\u200d' || isTag(r)
		switch {
		case isJoiner && before >= utf8.RuneSelf:
		case isJoiner, isFormat(r), unicode.Is(unicode.Zs, r) && r != ' ' && r != '\u3000':
			return true
		}
		before = r
	}
	return false
}

// lookOf says what a value that cannot be used looks like, as the end of a sentence that begins with "it"; "" where it looks like
// nothing in particular.
func lookOf(value []byte) string {
	const most = 8 << 10 // enough to know it by
	if isUTF16(value) {
		return "looks like UTF-16 text, as some Windows programs write it: save it as UTF-8 without a byte order mark"
	}
	text := string(Trim(value))
	if len(text) > most || !utf8.ValidString(text) {
		return ""
	}
	if s := hashScheme(text); s != nil {
		return "looks like " + s.name + ": " + s.advice()
	}
	return user.NewSuspicions(func(s user.Suspicion) bool {
		switch s { //nolint:exhaustive // the others say nothing about why it cannot be used
		case user.SuspectBase64, user.SuspectDocument, user.SuspectAssignment, user.SuspectURL:
			return isSuspect(text, "", s)
		}
		return false
	}).String()
}

// isUTF16 tells whether the value begins with UTF-16's byte order mark, or has a NUL in each second place, as ASCII has there.
func isUTF16(value []byte) bool {
	if len(value) < 4 || len(value)%2 != 0 {
		return false
	}
	if bytes.HasPrefix(value, []byte{0xff, 0xfe}) || bytes.HasPrefix(value, []byte{0xfe, 0xff}) {
		return true
	}
	count := [2]int{}
	for i, c := range value {
		if c == 0 {
			count[i%2]++
		}
	}
	half := len(value) / 2
	return count[0] == 0 && count[1] == half || count[0] == half && count[1] == 0
}
