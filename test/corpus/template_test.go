// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"
)

// functions are available between << and >> in every case.
var functions = template.FuncMap{
	"repeat":  func(times int, text string) string { return strings.Repeat(text, times) },
	"hex":     func(digits string) (string, error) { b, err := hex.DecodeString(digits); return string(b), err },
	"base64":  func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) },
	"basic":   basic,
	"numbers": numbers,

	// The password of alice, and a bcrypt hash of an unknown password.
	"password": func() string { return right },
	"hash":     func() string { return aHash },

	// A JSON web token of a header and claims in JSON, signed by HMAC-SHA256 with the manager's secret or another one.
	// And a time for its claims, relative to now.
	"jwt":    func(header, claims string) string { return signed(signingSecret, header, claims) },
	"signed": signed,
	"in": func(length string) (int64, error) {
		d, err := time.ParseDuration(length)
		return time.Now().Add(d).Unix(), err
	},
}

func basic(username, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password))
}

func signed(key, header, claims string) string {
	token := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(token))
	return token + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// numbers returns the given number of different words for a list.
func numbers(count int) string {
	words := make([]string, count)
	for i := range words {
		words[i] = "r" + strconv.Itoa(i)
	}
	return strings.Join(words, ",")
}

// An expander replaces the text between << and >>.
type expander struct {
	t    *testing.T
	more template.FuncMap // beside functions
}

// with returns an expander that knows additional words.
func with(t *testing.T, words map[string]string) expander {
	t.Helper()
	more := maps.Clone(functions)
	for word, text := range words {
		more[word] = func() string { return text }
	}
	return expander{t, more}
}

func (e expander) text(s string) string {
	e.t.Helper()
	if !strings.Contains(s, "<<") {
		return s
	}
	parsed, err := template.New("").Delims("<<", ">>").Funcs(e.more).Parse(s)
	if err != nil {
		e.t.Fatalf("%q: %v", s, err)
	}
	var b strings.Builder
	if err := parsed.Execute(&b, nil); err != nil {
		e.t.Fatalf("%q: %v", s, err)
	}
	return b.String()
}

// value expands all texts within a JSON value, including keys.
func (e expander) value(v any) any {
	e.t.Helper()
	switch v := v.(type) {
	case string:
		return e.text(v)
	case []any:
		list := make([]any, 0, len(v))
		for _, item := range v {
			list = append(list, e.value(item))
		}
		return list
	case map[string]any:
		fields := map[string]any{}
		for key, item := range v {
			fields[e.text(key)] = e.value(item)
		}
		return fields
	}
	return v
}
