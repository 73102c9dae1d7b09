// SPDX-License-Identifier: Apache-2.0

package password

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestTrim(t *testing.T) {
	for name, tt := range map[string]struct{ in, want string }{
		"nothing stays nothing":                              {"", ""},
		"a value without newline stays":                      {"secret", "secret"},
		"one trailing newline is removed":                    {"secret\n", "secret"},
		"only one of two newlines is removed":                {"secret\n\n", "secret\n"},
		"a line ending of Windows is removed":                {"secret\r\n", "secret"},
		"only one of two line endings of Windows is removed": {"secret\r\n\r\n", "secret\r\n"},
		"a line ending of Windows alone is removed":          {"\r\n", ""},
		"a carriage return alone stays":                      {"secret\r", "secret\r"},
		"one before a carriage return too":                   {"secret\n\r", "secret\n\r"},
		"spaces and leading newlines stay":                   {"\n secret \n", "\n secret "},
		"a lone newline leaves nothing":                      {"\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := string(Trim([]byte(tt.in))); got != tt.want {
				t.Errorf("Trim(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		plain string
		min   int
		want  error
	}{
		"a password of the minimum is good":           {"12345678", 8, nil},
		"one character less is too short":             {"1234567", 8, ErrTooShort},
		"length is counted in characters, not bytes":  {"äöüäöüäö", 8, nil},
		"seven characters of two bytes are too short": {"äöüäöüä", 8, ErrTooShort},
		"72 bytes are good":                           {strings.Repeat("x", 72), 8, nil},
		"73 bytes are too long":                       {strings.Repeat("x", 73), 8, ErrTooLong},
		"37 characters of two bytes are too long":     {strings.Repeat("ä", 37), 8, ErrTooLong},
		"a megabyte is too long":                      {strings.Repeat("x", 1<<20), 8, ErrTooLong},
		"empty is empty":                              {"", 8, ErrEmpty},
		"empty is refused even at a minimum of 0":     {"", 0, ErrEmpty},
		"a NUL at the start is refused":               {"\x0012345678", 8, ErrNUL},
		"a NUL at the end is refused":                 {"12345678\x00", 8, ErrNUL},
		"Latin-1 is not UTF-8":                        {"passw\xf6rter", 8, ErrNotUTF8},
		"spaces, quotes and backslashes are taken":    {" '\"\\$` # ", 8, nil},
		"line endings at the end are taken":           {"12345678\r\n\n", 8, nil},
		"line endings alone are empty":                {"\n\r\n\n", 1, ErrEmpty},
		"a tab is a control character":                {"1234\t5678", 8, ErrControl},
		"a tab at the end is one":                     {"12345678\t", 8, ErrControl},
		"a line ending before it is one":              {"\n12345678", 8, ErrControl},
		"a line ending within it is one":              {"1234\n5678", 8, ErrControl},
		"a carriage return at the end is one":         {"12345678\r", 8, ErrControl},
		"an escape sequence has one":                  {"1234\x1b[2J5678", 8, ErrControl},
		"DEL is one":                                  {"12345678\x7f", 8, ErrControl},
		"NEL, of the C1 set, is one":                  {"12345678\u0085", 8, ErrControl},
		"a byte order mark before it is refused":      {"\ufeff12345678", 8, ErrMark},
		"a byte order mark within it is refused":      {"1234\ufeff5678", 8, ErrMark},
	} {
		t.Run(name, func(t *testing.T) {
			if err := Check([]byte(tt.plain), tt.min); !errors.Is(err, tt.want) {
				t.Errorf("Check = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestTooShortNamesTheMinimum(t *testing.T) {
	const want = "the password is too short: choose one with at least 8 characters"
	if err := Check([]byte("abc"), 8); err == nil || err.Error() != want {
		t.Errorf("Check = %v, want %s", err, want)
	}
}

var lineEndings = regexp.MustCompile(`(\r?\n)+\z`)

// A Secret's value is used byte for byte except for one line ending, and bcrypt reads every accepted value completely.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{"", "\n", "\n\n", "12345678", "12345678\r\n", "a\x00b", "\xff\xfe", strings.Repeat("ä", 36) + "\n", strings.Repeat("x", 73)} {
		f.Add([]byte(s), 8)
	}
	f.Fuzz(func(t *testing.T, value []byte, minLength int) {
		plain := Trim(value)
		if end := strings.TrimPrefix(string(value), string(plain)); end != "" && end != "\n" && end != "\r\n" {
			t.Fatalf("Trim(%q) = %q", value, plain)
		}
		if len(value) > 0 && value[len(value)-1] == '\n' && len(plain) == len(value) {
			t.Fatalf("Trim(%q) leaves the newline", value)
		}
		err := Check(plain, minLength)
		text := lineEndings.ReplaceAllString(string(plain), "")
		good := text != "" && len(plain) <= MaxBytes && utf8.Valid(plain) && utf8.RuneCount(plain) >= minLength &&
			!strings.ContainsFunc(text, unicode.IsControl) && !strings.Contains(text, "\ufeff") && !errors.Is(err, ErrHashed)
		if (err == nil) != good {
			t.Fatalf("Check(%q, %d) = %v", plain, minLength, err)
		}
		if err != nil && len(plain) > 8 && strings.Contains(err.Error(), string(plain)) {
			t.Fatalf("the error quotes the password: %v", err)
		}
	})
}

func TestWellKnown(t *testing.T) {
	for name, tt := range map[string]struct {
		plain string
		want  bool
	}{
		"the system's admin password":            {"admin123", true},
		"the system's operator password":         {"operator123", true},
		"the system's viewer password":           {"viewer123", true},
		"the commonest of all":                   {"123456", true},
		"a common word in another case":          {"PassWord", true},
		"the last of the list":                   {"volleyba", true},
		"a default with something after it":      {"admin123!", false},
		"a passphrase":                           {"correct horse battery staple", false},
		"the empty password is not common":       {"", false},
		"a newline alone is not common":          {"\n", false},
		"two neighbours of the list are not one": {"123456\npassword", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := WellKnown([]byte(tt.plain)); got != tt.want {
				t.Errorf("WellKnown(%q) = %v, want %v", tt.plain, got, tt.want)
			}
		})
	}
}

// The comparison uses lower case, so a word with an upper-case letter could never match.
func TestTheListIsLowerCaseAndComplete(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(commonList, "\n"), "\n")
	if len(lines) != 5000 {
		t.Errorf("the list has %d lines, want 5000", len(lines))
	}
	for _, word := range lines {
		if word != strings.ToLower(word) || utf8.RuneCountInString(word) < 6 {
			t.Errorf("%q does not belong into the list", word)
		}
	}
}

func TestFingerprints(t *testing.T) {
	f := NewFingerprinter()
	one := f.Of([]byte("secret"))
	if f.Of([]byte("secret")) != one {
		t.Error("one password has two fingerprints")
	}
	if f.Of([]byte("secret\x00")) == one || f.Of([]byte("secreT")) == one {
		t.Error("two passwords share a fingerprint")
	}
	if NewFingerprinter().Of([]byte("secret")) == one {
		t.Error("two fingerprinters share a key")
	}
}
