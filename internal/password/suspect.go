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

// SecretValue is the value of a Secret for a user.
type SecretValue struct {
	Value  []byte // under the key, unchanged
	Hashed bool   // the value is a hash: spec.password.format is Bcrypt
	Login  []byte // the username of a kubernetes.io/basic-auth Secret; otherwise nil
}

// The type and the keys of a kubernetes.io/basic-auth Secret, as in k8s.io/api.
const (
	typeBasicAuth = "kubernetes.io/basic-auth"
	keyOfLogin    = "username"
	keyOfPassword = "password"
)

// FromSecret returns the value under the key of a Secret of the given type.
func FromSecret(secretType, key string, data map[string][]byte) SecretValue {
	given := SecretValue{Value: data[key]}
	if secretType == typeBasicAuth && key == keyOfPassword {
		given.Login = data[keyOfLogin]
	}
	return given
}

// Inspection is the result of Inspect. Only Value contains any part of the value.
type Inspection struct {
	Value     []byte          // what to hash, or to store as the hash
	Err       error           // why the value is invalid; nil if it is valid
	Suspicion user.Suspicions // why a valid value is probably not the intended one
}

// Inspect checks the value for the user of the given name. A password needs at least minLength characters.
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

// isSuspect reports whether a valid password has the suspicion.
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

// Formats that can be recognised by themselves. They are matched without surrounding quotation marks and spaces.
var (
	assignment = regexp.MustCompile(`(?i)^(export\s+|set\s+|-\s+)?["']?[a-z0-9_.-]*(password|passwd|passphrase|secret|token|pass|pwd|pw|key)["']?\s*(:\s|=\s*[^=\s])`)
	location   = regexp.MustCompile(`(?i)^[a-z][a-z0-9+.-]*://\S|^(vault|ref\+[a-z]+):\S|^ENC\[[A-Z0-9_]+,|^<path:`)
	template   = regexp.MustCompile(`^(\$\{[^{}]*\}|\$[A-Z_]{6,}|\$\([^()]*\)|\{\{.*\}\}|<%.*%>|%[A-Za-z_]{2,}%|__[A-Za-z_]+__|<[A-Za-z][A-Za-z _-]*>|\[[A-Za-z][A-Za-z _-]*\])$`)
	escapes    = regexp.MustCompile(`&(amp|lt|gt|quot|apos|nbsp|#[0-9]{2,4}|#x[0-9A-Fa-f]{2,4});|\\u00[0-9A-Fa-f]{2}|(\\r)?\\n$`)
	markup     = regexp.MustCompile(`^<[A-Za-z!?][^<>]*>.*</?[^<>]*>$`)
)

// placeholders are what programs write for a missing value.
var placeholders = []string{"<no value>", "<nil>", "(null)", "undefined", "[object object]", "%!s(<nil>)"}

// isDocument reports whether the text is a JSON object or array, XML or PEM.
func isDocument(text string) bool {
	if strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") {
		return json.Valid([]byte(text))
	}
	return markup.MatchString(text) || strings.HasPrefix(text, "-----BEGIN ")
}

// The shortest decoded texts, in bytes, that count as base64 of text. A random token decodes to printable bytes by chance:
// 8 random bytes once in 2,800 times, 16 bytes once in 8,000,000 times. Characters beyond ASCII and missing padding make
// that more likely.
const (
	minDecoded        = 8
	minDecodedStrange = 12
)

// isEncodedText reports whether the text is base64 of printable text.
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

// isTwiceUTF8 reports whether the text is UTF-8 that was read as Latin-1 and encoded again.
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

// pairs are matching quotation marks.
var pairs = []struct{ open, close string }{
	{`"`, `"`},
	{"'", "'"},
	{"`", "`"},
	{`\"`, `\"`}, // JSON within JSON
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
	{"b'", "'"}, // bytes in Python
}

// unquoted removes one pair of surrounding quotation marks, and a comma or semicolon copied with them.
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

// trimEdges removes spaces, line endings and invisible characters at both ends.
func trimEdges(text string) string {
	return strings.TrimFunc(text, func(r rune) bool { return unicode.IsSpace(r) || isFormat(r) })
}

// isFormat reports whether the character is invisible: of zero width, or a control of the text direction. The tags in
// emoji of flags are excluded.
func isFormat(r rune) bool { return unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) && !isTag(r) }

func isTag(r rune) bool { return r >= '\U000E0020' && r <= '\U000E007F' }

// hasInvisible reports whether the text has invisible characters, or spaces that keyboards do not have. Emoji and
// several scripts need joiners, and Japanese keyboards have a wide space.
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

// lookOf describes an invalid value, as the end of a sentence that begins with "it"; "" if it cannot.
func lookOf(value []byte) string {
	const most = 8 << 10 // enough to recognise the format
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

// isUTF16 reports whether the value begins with UTF-16's byte order mark, or has a NUL in every second byte, as ASCII
// in UTF-16 has.
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
