// SPDX-License-Identifier: Apache-2.0

package password

import (
	"encoding/base64"
	"regexp"
	"strings"
)

// scheme is a format of password hashes.
type scheme struct {
	name string
	form *regexp.Regexp // of a whole hash
}

// schemes are formats that no password has by chance, because such a password would be rejected. Hexadecimal digests
// are missing: tokens look the same.
var schemes = []*scheme{
	bcryptScheme,
	{"an Argon2 hash", regexp.MustCompile(`^\$argon2(i|d|id)\$.{10,}$`)},
	{"a crypt hash", regexp.MustCompile(`^\$(1|5|6|7|y|gy|apr1|sha1|md5|scrypt|pbkdf2[a-z0-9-]*)\$[./A-Za-z0-9+=,$-]{16,}$`)},
	{"an LDAP hash", regexp.MustCompile(`(?i)^\{(SHA|SSHA|MD5|SMD5|SHA(256|384|512)|SSHA(256|384|512)|CRYPT|PBKDF2[A-Z0-9-]*|ARGON2)\}[./A-Za-z0-9+=,$-]{13,}$`)},
	{"a Django hash", regexp.MustCompile(`^(pbkdf2_sha(1|256)\$[0-9]|bcrypt(_sha256)?\$\$2|argon2\$argon2|scrypt\$[0-9]).{10,}$`)},
	{"a Werkzeug hash", regexp.MustCompile(`^(pbkdf2:sha[0-9]+|scrypt:[0-9]+:[0-9]+)(:[0-9]+)?\$[A-Za-z0-9]+\$.{10,}$`)},
	{"a Postgres hash", regexp.MustCompile(`^(SCRAM-SHA-256\$[0-9]+:.{10,}|md5[0-9a-f]{32})$`)},
	{"a MySQL hash", regexp.MustCompile(`^\*[0-9A-F]{40}$`)},
}

var bcryptScheme = &scheme{"a bcrypt hash", regexp.MustCompile(`^\$2[a-z]?\$[0-9]{1,2}\$[./A-Za-z0-9]{10,}$`)}

// Text that people leave around a bcrypt hash.
var (
	bcryptLabel = regexp.MustCompile(`(?i)^\{(bcrypt|crypt|blf-crypt)\}`)
	bcryptLine  = regexp.MustCompile(`^[^:$\s]+:(\$2.*)$`)
)

// hashScheme returns the scheme of a text that looks like a hash; nil if it does not.
func hashScheme(text string) *scheme {
	if bare, _ := bareHash(text); bcryptScheme.form.MatchString(bare) {
		return bcryptScheme
	}
	text = unquoted(trimEdges(text))
	for _, s := range schemes {
		if s.form.MatchString(text) {
			return s
		}
	}
	return nil
}

// advice says what to do with such a hash in place of a password.
func (s *scheme) advice() string {
	if s == bcryptScheme {
		return "put the password itself there, or set spec.password.format to Bcrypt"
	}
	return "the sharding system does not support it; put the password itself there, or a bcrypt hash with spec.password.format Bcrypt"
}

// bareHash removes what people leave around a bcrypt hash, and describes it. The description is empty if nothing was
// removed.
func bareHash(text string) (bare, around string) {
	bare = strings.TrimPrefix(text, mark)
	if bare != text {
		around = "a byte order mark"
	}
	if trimmed := trimEdges(bare); trimmed != bare {
		bare, around = trimmed, "spaces or line endings"
	}
	if inner := unquoted(bare); inner != bare {
		bare, around = inner, "quotation marks"
	}
	if label := bcryptLabel.FindString(bare); label != "" {
		bare, around = bare[len(label):], "a label in braces"
	}
	if line := bcryptLine.FindStringSubmatch(bare); line != nil {
		bare, around = line[1], "a username and a colon, as in an htpasswd file"
	}
	if strings.HasPrefix(bare, "$$2") {
		bare, around = strings.ReplaceAll(bare, "$$", "$"), "a second $ for each $, as Docker Compose requires"
	}
	return bare, around
}

// lookOfHash describes a value that is not a usable bcrypt hash, as the end of a sentence that begins with "it"; "" if
// it cannot.
func lookOfHash(value string) string {
	bare, around := bareHash(value)
	isHash := bcryptScheme.form.MatchString(bare)
	switch {
	case isHash && around != "":
		return "looks like a bcrypt hash with " + around + ": remove that"
	case isHash, value == "":
		return ""
	}
	if s := hashScheme(value); s != nil {
		return "looks like " + s.name + ", which the sharding system does not support"
	}
	if decoded, err := base64.StdEncoding.DecodeString(bare); err == nil && hashScheme(string(decoded)) == bcryptScheme {
		return "looks like base64 of a bcrypt hash: Kubernetes encodes values itself"
	}
	return lookOf([]byte(value))
}
