// SPDX-License-Identifier: Apache-2.0

package password_test

import (
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// meant is the intended password of each value.
const meant = "c4n4ry-Meant"

// bcryptHash has the format of a hash, of no known password.
const bcryptHash = "$2y$10$" + "N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func utf16LE(text string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = append(b, byte(unit), byte(unit>>8)) //nolint:gosec // the two bytes of a unit
	}
	return string(b)
}

// Values that are probably not the intended password.
var suspectValues = map[string]struct {
	value  string
	reason string // of PasswordSuspicious; "" where nothing is suspicious
	says   string
}{
	"a password":                               {meant, "", ""},
	"a password and a line ending":             {meant + "\n", "", ""},
	"a password and a Windows line ending":     {meant + "\r\n", "", ""},
	"two newlines at the end":                  {meant + "\n\n", "HasEdgeSpace", "line ending"},
	"two Windows line endings":                 {meant + "\r\n\r\n", "HasEdgeSpace", "line ending"},
	"a newline and a Windows line ending":      {meant + "\n\r\n", "HasEdgeSpace", "line ending"},
	"a space before it":                        {" " + meant, "HasEdgeSpace", "space"},
	"a space after it and a newline":           {meant + " \n", "HasEdgeSpace", "space"},
	"a no-break space after it":                {meant + "\u00a0", "HasEdgeSpace", "space"},
	"a zero-width space before it":             {"\u200b" + meant, "HasEdgeSpace", "invisible"},
	"a line separator after it":                {meant + "\u2028", "HasEdgeSpace", "invisible"},
	"spaces within it":                         {"correct horse battery staple", "", ""},
	"double quotes around it":                  {`"` + meant + `"`, "LooksQuoted", "quotation marks"},
	"single quotes around it and a newline":    {"'" + meant + "'\n", "LooksQuoted", "quotation marks"},
	"backticks around it":                      {"`" + meant + "`", "LooksQuoted", "quotation marks"},
	"a word processor's quotes around it":      {"“" + meant + "”", "LooksQuoted", "quotation marks"},
	"a German's quotes around it":              {"„" + meant + "“", "LooksQuoted", "quotation marks"},
	"a Swede's quotes around it":               {"”" + meant + "”", "LooksQuoted", "quotation marks"},
	"a Dane's quotes around it":                {"»" + meant + "«", "LooksQuoted", "quotation marks"},
	"one quote of guillemets around it":        {"‹" + meant + "›", "LooksQuoted", "quotation marks"},
	"a Japanese's quotes around it":            {"「" + meant + "」", "LooksQuoted", "quotation marks"},
	"accents around it":                        {"´" + meant + "´", "LooksQuoted", "quotation marks"},
	"primes around it":                         {"″" + meant + "″", "LooksQuoted", "quotation marks"},
	"quotes that were escaped":                 {`\"` + meant + `\"`, "LooksQuoted", "quotation marks"},
	"quotes and the comma after them":          {`"` + meant + `",`, "LooksQuoted", "quotation marks"},
	"quotes and a semicolon after them":        {"'" + meant + "';\n", "LooksQuoted", "quotation marks"},
	"a quote, text and a comma":                {`"` + meant + `,`, "", ""},
	"bytes as Python prints them":              {"b'" + meant + "'", "LooksQuoted", "quotation marks"},
	"a quote at one end alone":                 {`"` + meant, "", ""},
	"other quotes at each end":                 {`"` + meant + `'`, "", ""},
	"quotes within it":                         {`c4n4ry"Meant"so`, "", ""},
	"base64 of it":                             {b64(meant), "LooksEncoded", "base64"},
	"base64 of it and a newline":               {b64(meant + "\n"), "LooksEncoded", "base64"},
	"base64 of it, and a newline after that":   {b64(meant) + "\n", "LooksEncoded", "base64"},
	"base64 of base64 of it":                   {b64(b64(meant)), "LooksEncoded", "base64"},
	"base64 of a sentence":                     {b64("correct horse battery staple"), "LooksEncoded", "base64"},
	"base64 of letters beyond ASCII":           {b64("пароль из слов"), "LooksEncoded", "base64"},
	"base64 without its padding":               {strings.TrimRight(b64(meant+"!"), "="), "LooksEncoded", "base64"},
	"base64 for URLs":                          {base64.URLEncoding.EncodeToString([]byte("??>>" + meant)), "LooksEncoded", "base64"},
	"base64 as Windows PowerShell has it":      {b64(utf16LE(meant)), "LooksEncoded", "base64"},
	"base64 of UTF-16 with its mark":           {b64(utf16LE("\ufeff" + meant + "\r\n")), "LooksEncoded", "base64"},
	"base64 of a byte order mark":              {b64("\ufeff" + meant), "LooksEncoded", "base64"},
	"base64 in quotes":                         {`"` + b64(meant) + `"`, "LooksEncoded", "quotation marks"},
	"base64 of few bytes, as words are":        {"password", "", ""},
	"a word that base64 knows, too":            {"correcthorse", "", ""},
	"base64 of bytes that are no text":         {base64.StdEncoding.EncodeToString([]byte("\x8f\x1b\x9a\xd2\xc4\x7e\x55\xe1\xf0\xa3\xb6\xc8")), "", ""},
	"a JSON object":                            {`{"password":"` + meant + `"}`, "LooksEncoded", "JSON"},
	"a JSON array":                             {`["` + meant + `"]`, "LooksEncoded", "JSON"},
	"a JSON number":                            {"1234567890123", "", ""},
	"braces that are no JSON":                  {"{" + meant + "}", "", ""},
	"XML":                                      {"<password>" + meant + "</password>", "LooksEncoded", "XML"},
	"a line of YAML":                           {"password: " + meant, "LooksEncoded", "settings file"},
	"a line of an env file":                    {"DB_PASSWORD=" + meant, "LooksEncoded", "settings file"},
	"a line of a shell":                        {"export PASSWORD='" + meant + "'", "LooksEncoded", "settings file"},
	"a line of an ini file":                    {"secret = " + meant, "LooksEncoded", "settings file"},
	"an equals sign within it":                 {"c4n4ry=Meant=", "", ""},
	"a colon within it":                        {"c4n4ry:Meant:", "", ""},
	"the username before it":                   {"alice:" + meant, "LooksEncoded", "username and a colon"},
	"a DSN":                                    {"postgres://alice:" + meant + "@db/users", "LooksEncoded", "URL"},
	"a reference to a vault":                   {"vault:secret/data/alice#password", "LooksEncoded", "reference"},
	"a reference of 1Password":                 {"op://team/alice/password", "LooksEncoded", "reference"},
	"what SOPS did not decrypt":                {"ENC[AES256_GCM,data:c4n4ry=,iv:x,tag:y,type:str]", "LooksEncoded", "reference"},
	"a variable that was not filled in":        {"${ALICE_PASSWORD}", "LooksEncoded", "template"},
	"a variable without braces":                {"$ALICE_PASSWORD", "LooksEncoded", "template"},
	"a dollar before a word":                   {"$Alice-Password", "", ""},
	"a dollar before few capital letters":      {"$CANARY1", "", ""},
	"a command that no shell ran":              {"$(cat password.txt)", "LooksEncoded", "template"},
	"a template that was not filled in":        {"{{ .Values.password }}", "LooksEncoded", "template"},
	"what a page says to replace":              {"<your-password>", "LooksEncoded", "template"},
	"what Helm writes for a missing value":     {"<no value>", "LooksEncoded", "template"},
	"HTML's name of a character":               {"c4n4ry&amp;Meant", "LooksEncoded", "escape sequences"},
	"JSON's name of a character":               {`c4n4ry\u0026Meant`, "LooksEncoded", "escape sequences"},
	"a newline that echo did not make one":     {meant + `\n`, "LooksEncoded", "escape sequences"},
	"an ampersand within it":                   {"c4n4ry&Meant;", "", ""},
	"UTF-8 twice":                              {"c4n4ry-Ã¶Ã¼Ã\u00a9", "LooksEncoded", "Latin-1"},
	"letters beyond ASCII":                     {"c4n4ry-äöüßé", "", ""},
	"accents of their own":                     {"c4n4ry-o\u0308u\u0308", "NotNormalised", "NFC"},
	"a sign that NFC replaces":                 {"c4n4ry-\u212b", "NotNormalised", "NFC"},
	"a zero-width space within it":             {"c4n4ry\u200b-Meant", "NotNormalised", "invisible"},
	"an order of direction within it":          {"c4n4ry\u202e-Meant", "NotNormalised", "invisible"},
	"a soft hyphen within it":                  {"c4n4ry\u00ad-Meant", "NotNormalised", "invisible"},
	"a no-break space within it":               {"c4n4ry\u00a0Meant", "NotNormalised", "unusual space"},
	"a joiner between Latin letters":           {"c4n4ry\u200dMeant", "NotNormalised", "invisible"},
	"a joiner between emoji":                   {"c4n4ry-👩\u200d💻", "", ""},
	"a joiner that Persian needs":              {"می\u200cخواهم-رمز", "", ""},
	"a flag of emoji":                          {"c4n4ry-🏴\U000e0067\U000e0062\U000e007f", "", ""},
	"the wide space of Japanese":               {"パスワード\u3000です", "", ""},
	"a character that a conversion lost":       {"c4n4ry-\ufffd\ufffd", "NotNormalised", "U+FFFD"},
	"an address, as some people take it":       {"alice@example.com", "", ""},
	"a UUID":                                   {"0b7c2f4e-6d1a-4c57-9a63-1f2e3d4c5b6a", "", ""},
	"a digest in hexadecimal":                  {"5f4dcc3b5aa765d61d8327deb882cf99", "", ""},
	"a program's name and a dollar":            {"scrypt$" + meant + "-c4n4ry", "", ""},
	"what begins as a hash of crypt by chance": {"$5$" + meant + "%x{}!~", "", ""},
	"what begins as one of LDAP by chance":     {"{SHA}" + meant + " %!", "", ""},
	"a password whose letters base64 has not":  {"Tr0ub4dor&3-Tr0ub4dor", "", ""},
}

func TestSuspectValues(t *testing.T) {
	for name, tt := range suspectValues {
		t.Run(name, func(t *testing.T) {
			j := password.SecretValue{Value: []byte(tt.value)}.Inspect("alice", 8)
			if j.Err != nil {
				t.Fatalf("it is refused: %v", j.Err)
			}
			if got := j.Suspicion.Reason(); got != tt.reason || !strings.Contains(j.Suspicion.String(), tt.says) {
				t.Errorf("it is suspected of %q: %s, want %q: ...%s", got, j.Suspicion, tt.reason, tt.says)
			}
			if strings.Contains(j.Suspicion.String(), "c4n4ry") {
				t.Errorf("part of the value is revealed: %s", j.Suspicion)
			}
			if want := strings.TrimSuffix(strings.TrimSuffix(tt.value, "\n"), "\r"); string(j.Value) != want {
				t.Errorf("what is hashed is %q, want %q", j.Value, want)
			}
		})
	}
}

func TestInvalidValuesAreDescribed(t *testing.T) {
	digest := bcryptHash[7:]
	for name, tt := range map[string]struct {
		value  string
		hashed bool
		want   error
		says   string
	}{
		"a bcrypt hash":                        {bcryptHash, false, password.ErrHashed, "spec.password.format to Bcrypt"},
		"a bcrypt hash and a newline":          {bcryptHash + "\n", false, password.ErrHashed, "bcrypt"},
		"a bcrypt hash and two":                {bcryptHash + "\n\n", false, password.ErrHashed, "bcrypt"},
		"a bcrypt hash of 2a":                  {"$2a$12$" + digest, false, password.ErrHashed, "bcrypt"},
		"a bcrypt hash of 2x":                  {"$2x$12$" + digest, false, password.ErrHashed, "bcrypt"},
		"a bcrypt hash of old":                 {"$2$05$" + digest, false, password.ErrHashed, "bcrypt"},
		"a part of a bcrypt hash":              {bcryptHash[:40], false, password.ErrHashed, "bcrypt"},
		"a bcrypt hash in quotes":              {`"` + bcryptHash + `"`, false, password.ErrHashed, "bcrypt"},
		"a bcrypt hash with a space":           {" " + bcryptHash, false, password.ErrHashed, "bcrypt"},
		"a line of htpasswd":                   {"alice:" + bcryptHash, false, password.ErrHashed, "bcrypt"},
		"a bcrypt hash of a directory":         {"{CRYPT}" + bcryptHash, false, password.ErrHashed, "bcrypt"},
		"a bcrypt hash with dollars twice":     {"$$2y$$10$$" + digest, false, password.ErrHashed, "bcrypt"},
		"an Argon2 hash":                       {"$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g", false, password.ErrHashed, "Argon2"},
		"a long Argon2 hash":                   {"$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$" + digest, false, password.ErrTooLong, "Argon2"},
		"a SHA-512 crypt hash":                 {"$6$saltsalt$" + digest + digest, false, password.ErrTooLong, "crypt hash"},
		"an MD5 crypt hash":                    {"$apr1$saltsalt$" + digest[:22], false, password.ErrHashed, "crypt hash"},
		"a hash of LDAP":                       {"{SSHA}" + b64(digest[:24]), false, password.ErrHashed, "LDAP"},
		"a hash of Postgres":                   {"md5" + "5f4dcc3b5aa765d61d8327deb882cf99", false, password.ErrHashed, "Postgres"},
		"a verifier of Postgres":               {"SCRAM-SHA-256$4096:" + b64(digest) + "$" + b64(digest), false, password.ErrTooLong, "Postgres"},
		"a hash of MySQL":                      {"*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19", false, password.ErrHashed, "MySQL"},
		"a hash of Django":                     {"pbkdf2_sha256$600000$salt$" + b64(digest[:20]), false, password.ErrHashed, "Django"},
		"a scrypt hash of Django":              {"scrypt$16384$salt$8$1$" + b64(digest[:20]), false, password.ErrHashed, "Django"},
		"a bcrypt hash of Django":              {"bcrypt$$2b$12$" + digest[:31], false, password.ErrHashed, "Django"},
		"a hash of Werkzeug":                   {"pbkdf2:sha256:600000$salt$" + digest[:30], false, password.ErrHashed, "Werkzeug"},
		"a scrypt hash of Werkzeug":            {"scrypt:32768:8:1$salt$" + digest, false, password.ErrTooLong, "Werkzeug"},
		"a hash of DES crypt in LDAP":          {"{CRYPT}abJnggxhB/yWI", false, password.ErrHashed, "LDAP"},
		"a byte order mark":                    {"\ufeff" + meant, false, password.ErrMark, "byte order mark"},
		"a byte order mark and Windows lines":  {"\ufeff" + meant + "\r\n", false, password.ErrMark, "byte order mark"},
		"UTF-16 with its mark":                 {utf16LE("\ufeff" + meant), false, password.ErrNUL, "UTF-16"},
		"UTF-16 without one":                   {utf16LE(meant), false, password.ErrNUL, "UTF-16"},
		"UTF-16 that has no NUL":               {utf16LE("\ufeffпароль!!")[:14], false, password.ErrNotUTF8, "UTF-16"},
		"UTF-16 of the other order":            {"\xfe\xff\x00p\x00a\x00s\x00s", false, password.ErrNUL, "UTF-16"},
		"Latin-1":                              {"c4n4ry-\xe4\xf6", false, password.ErrNotUTF8, "not UTF-8"},
		"a tab":                                {"c4n4ry\tMeant", false, password.ErrControl, "control character"},
		"two lines":                            {meant + "\n" + meant, false, password.ErrControl, "control character"},
		"a newline before it":                  {"\n" + meant, false, password.ErrControl, "control character"},
		"a JSON object of several lines":       {"{\n\"password\": \"" + meant + "\"\n}\n", false, password.ErrControl, "JSON"},
		"a JSON object that is long":           {`{"password":"` + strings.Repeat(meant, 6) + `"}`, false, password.ErrTooLong, "JSON"},
		"a key in PEM":                         {"-----BEGIN KEY-----\nYzRuNHJ5\n-----END KEY-----\n", false, password.ErrControl, "PEM"},
		"base64 that is long":                  {b64(strings.Repeat(meant, 6)), false, password.ErrTooLong, "base64"},
		"base64 of several lines":              {b64(meant)[:8] + "\n" + b64(meant)[8:], false, password.ErrControl, "base64"},
		"a line of YAML after another":         {"user: alice\npassword: x", false, password.ErrControl, "control character"},
		"a password instead of a hash":         {meant, true, password.ErrHash, "spec.password.format to Plain"},
		"a short password instead of a hash":   {"c4n4ry", true, password.ErrHash, "not a bcrypt hash"},
		"a hash in quotes":                     {"'" + bcryptHash + "'", true, password.ErrHash, "quotation marks"},
		"a hash with a space":                  {bcryptHash + " ", true, password.ErrHash, "spaces or line endings"},
		"a hash and two newlines":              {bcryptHash + "\n\n", true, password.ErrHash, "spaces or line endings"},
		"a hash with a label":                  {"{BCRYPT}" + bcryptHash, true, password.ErrHash, "label in braces"},
		"a hash in a line of htpasswd":         {"alice:" + bcryptHash + "\r\n", true, password.ErrHash, "htpasswd"},
		"a hash with dollars twice":            {"$$2y$$10$$" + digest, true, password.ErrHash, "Docker Compose"},
		"a hash with a byte order mark":        {"\ufeff" + bcryptHash, true, password.ErrHash, "byte order mark"},
		"a hash in UTF-16":                     {utf16LE(bcryptHash), true, password.ErrHash, "UTF-16"},
		"a hash in base64":                     {b64(bcryptHash), true, password.ErrHash, "base64 of a bcrypt hash"},
		"an Argon2 hash, said to be of bcrypt": {"$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA", true, password.ErrHash, "Argon2"},
		"a hash of 59 characters":              {bcryptHash[:59], true, password.ErrHash, "60 characters"},
	} {
		t.Run(name, func(t *testing.T) {
			j := password.SecretValue{Value: []byte(tt.value), Hashed: tt.hashed}.Inspect("alice", 8)
			if !errors.Is(j.Err, tt.want) || !strings.Contains(j.Err.Error(), tt.says) {
				t.Fatalf("it is %v, want %v that says %q", j.Err, tt.want, tt.says)
			}
			if j.Suspicion != "" {
				t.Errorf("what is refused is suspected of %q, too", j.Suspicion)
			}
			for _, part := range []string{"c4n4ry", digest[:8], "5f4dcc3b", "2470C0C0", b64(meant)[:8]} {
				if strings.Contains(j.Err.Error(), part) {
					t.Errorf("part of the value is revealed: %v", j.Err)
				}
			}
		})
	}
}

func TestUsernameOfABasicAuthSecret(t *testing.T) {
	for name, tt := range map[string]struct {
		login  []byte
		hashed bool
		value  string
		want   user.Suspicions
	}{
		"no username in a Secret of another type":   {nil, false, meant, ""},
		"no username in the Secret":                 {[]byte{}, false, meant, ""},
		"the user's own":                            {[]byte("alice"), false, meant, ""},
		"the user's own with a line ending":         {[]byte("alice\r\n"), false, meant, ""},
		"another username":                          {[]byte("bob"), false, meant, "username"},
		"one in capital letters":                    {[]byte("Alice"), false, meant, "username"},
		"another username beside a hash":            {[]byte("bob"), true, bcryptHash, "username"},
		"another username beside a suspicious text": {[]byte("bob"), false, `"` + meant + `"`, "quotes,username"},
	} {
		t.Run(name, func(t *testing.T) {
			j := password.SecretValue{Value: []byte(tt.value), Hashed: tt.hashed, Login: tt.login}.Inspect("alice", 8)
			if j.Err != nil || j.Suspicion != tt.want {
				t.Errorf("it is suspected of %q (%v), want %q", j.Suspicion, j.Err, tt.want)
			}
			if strings.Contains(j.Suspicion.String(), "bob") {
				t.Errorf("the username of the Secret is revealed: %s", j.Suspicion)
			}
		})
	}
}

// A random password must not be suspected: users ignore a warning that was once wrong.
func TestRandomPasswordsAreNotSuspected(t *testing.T) {
	rounds := 5_000
	if testing.Short() {
		rounds = 1_000
	}
	var random *rand.Rand
	from := func(alphabet string, n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = alphabet[random.IntN(len(alphabet))]
		}
		return string(b)
	}
	bytes := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32()) //nolint:gosec // one byte of it
		}
		return b
	}
	const (
		letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		alnum   = letters + "0123456789"
		symbols = alnum + "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	)
	for name, tt := range map[string]struct {
		make func() string
		most int // how many of the rounds may be suspected
	}{
		"the operator's own":                 {func() string { return password.Random(24) }, 0},
		"the operator's shortest":            {func() string { return password.Random(16) }, 0},
		"openssl rand -base64 24":            {func() string { return base64.StdEncoding.EncodeToString(bytes(24)) }, 0},
		"openssl rand -base64 18":            {func() string { return base64.StdEncoding.EncodeToString(bytes(18)) }, 0},
		"openssl rand -base64 32":            {func() string { return base64.StdEncoding.EncodeToString(bytes(32)) }, 0},
		"openssl rand -base64 12":            {func() string { return base64.StdEncoding.EncodeToString(bytes(12)) }, 1},
		"tokens for URLs, without padding":   {func() string { return base64.RawURLEncoding.EncodeToString(bytes(32)) }, 0},
		"openssl rand -hex 16":               {func() string { return from("0123456789abcdef", 32) }, 0},
		"openssl rand -hex 8":                {func() string { return from("0123456789abcdef", 16) }, 0},
		"24 letters and digits":              {func() string { return from(alnum, 24) }, 0},
		"16 letters and digits":              {func() string { return from(alnum, 16) }, 1},
		"12 letters and digits":              {func() string { return from(alnum, 12) }, 3},
		"10 letters and digits":              {func() string { return from(alnum, 10) }, 0},
		"8 letters and digits":               {func() string { return from(alnum, 8) }, 0},
		"20 small letters":                   {func() string { return from(letters[:26], 20) }, 0},
		"24 characters of all that is ASCII": {func() string { return from(symbols, 24) }, 6},
		"four words": {func() string {
			return strings.Join([]string{from(letters[:26], 5), from(letters[:26], 6), from(letters[:26], 4), from(letters[:26], 7)}, "-")
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			random = rand.New(rand.NewPCG(16, 2026)) // the same ones every time
			suspected := map[user.Suspicions]int{}
			total := 0
			for range rounds {
				j := password.SecretValue{Value: []byte(tt.make() + "\n")}.Inspect("alice", 8)
				if j.Err != nil {
					t.Fatalf("one is refused: %v", j.Err)
				}
				if j.Suspicion != "" {
					suspected[j.Suspicion]++
					total++
				}
			}
			if total > tt.most {
				t.Errorf("%d of %d are suspected, of %v; want %d at most", total, rounds, suspected, tt.most)
			}
		})
	}
}

// Inspect returns for any value and reveals no part of it.
func FuzzInspect(f *testing.F) {
	for _, tt := range suspectValues {
		f.Add([]byte(tt.value), false)
		f.Add([]byte(tt.value), true)
	}
	f.Add([]byte(bcryptHash), false)
	f.Add([]byte(utf16LE(meant)), false)
	f.Fuzz(func(t *testing.T, value []byte, hashed bool) {
		j := password.SecretValue{Value: value, Hashed: hashed}.Inspect("alice", 8)
		if j.Err != nil && j.Suspicion != "" {
			t.Fatalf("%q is refused and suspected of %q", value, j.Suspicion)
		}
		if (j.Suspicion == "") != (j.Suspicion.Reason() == "") || (j.Suspicion == "") != (j.Suspicion.String() == "") {
			t.Fatalf("%q is not a set of known suspicions", j.Suspicion)
		}
	})
}
