// SPDX-License-Identifier: Apache-2.0

package login

import (
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sharding-system/shardinguser-operator/internal/serving"
)

func TestATokenOfAReplacedSecretIsRefusedAtOnce(t *testing.T) {
	w, file := withTokens(t)
	old := w.token()
	write(t, file, anotherSecret+"\n")
	w.clock.passes(serving.ReloadInterval)
	fresh := w.token()
	if _, err := jwt.NewParser(jwt.WithTimeFunc(w.Now)).Parse(fresh, func(*jwt.Token) (any, error) { return []byte(anotherSecret), nil }); err != nil {
		t.Errorf("a new token is not signed with the new secret: %v", err)
	}
	for name, tt := range map[string]struct {
		token  string
		status int
	}{
		"issued before":              {old, http.StatusUnauthorized},
		"forged with the old secret": {w.forge(secret), http.StatusUnauthorized},
		"issued with the new secret": {fresh, http.StatusOK},
		"by another program":         {w.forge(anotherSecret), http.StatusOK},
	} {
		if got := w.bearer(tt.token); got != tt.status {
			t.Errorf("%s: %d, want %d", name, got, tt.status)
		}
	}
}

func TestThePreviousSecretIsValidUntilItExpires(t *testing.T) {
	for name, until := range map[string]time.Duration{"given": time.Hour, "by default": 0} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			files := TokenOptions{Secret: filepath.Join(folder, "secret"), Previous: filepath.Join(folder, "previous")}
			write(t, files.Secret, anotherSecret)
			write(t, files.Previous, secret+"\n")
			end := tokenLife
			if until > 0 {
				end = until
				files.PreviousUntil = worldBegins.Add(until)
			}
			w := withTokenFiles(t, files)
			if got := w.bearer(w.forge(secret)); got != http.StatusOK {
				t.Errorf("before the end: %d", got)
			}
			w.clock.passes(end - time.Second)
			if got := w.bearer(w.forge(secret)); got != http.StatusOK {
				t.Errorf("a second before the end: %d", got)
			}
			w.clock.passes(time.Second)
			if got := w.bearer(w.forge(secret)); got != http.StatusUnauthorized {
				t.Errorf("at the end: %d", got)
			}
			if got := w.bearer(w.token()); got != http.StatusOK {
				t.Errorf("a token of the current secret: %d", got)
			}
		})
	}
}

func TestARemovedPreviousSecretIsInvalidAtOnce(t *testing.T) {
	for name, goes := range map[string]func(testing.TB, string){
		"removed": func(t testing.TB, file string) {
			t.Helper()
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		},
		"emptied": func(t testing.TB, file string) {
			t.Helper()
			write(t, file, "")
		},
		"replaced": func(t testing.TB, file string) {
			t.Helper()
			write(t, file, strings.Repeat("another ", 4))
		},
		"an empty line": func(t testing.TB, file string) {
			t.Helper()
			write(t, file, "\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			files := TokenOptions{Secret: filepath.Join(folder, "secret"), Previous: filepath.Join(folder, "previous")}
			write(t, files.Secret, anotherSecret)
			write(t, files.Previous, secret)
			w := withTokenFiles(t, files)
			if got := w.bearer(w.forge(secret)); got != http.StatusOK {
				t.Errorf("while it is there: %d", got)
			}
			goes(t, files.Previous)
			w.clock.passes(serving.ReloadInterval)
			if got := w.bearer(w.forge(secret)); got != http.StatusUnauthorized {
				t.Errorf("once it has gone: %d", got)
			}
		})
	}
}

func TestAnInvalidSecretFileKeepsTheOldSecret(t *testing.T) {
	w, file := withTokens(t)
	for name, change := range map[string]func(){
		"too short": func() { write(t, file, secret[:31]+"\n") },
		"empty":     func() { write(t, file, "") },
		"none": func() {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		},
	} {
		change()
		w.clock.passes(serving.ReloadInterval)
		if got := w.bearer(w.token()); got != http.StatusOK {
			t.Errorf("%s: %d", name, got)
		}
		write(t, file, secret)
		w.clock.passes(serving.ReloadInterval)
	}
	if !strings.Contains(w.log.String(), "shorter than 32 bytes") {
		t.Errorf("nothing is said of it:\n%s", w.log)
	}
}

func TestNoTokensWithoutASecret(t *testing.T) {
	for name, content := range map[string]string{
		"none":                   "",
		"31 bytes":               secret[:31],
		"31 bytes and a newline": secret[:31] + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "secret")
			write(t, file, content)
			if _, err := NewTokens(tokenOptions(TokenOptions{Secret: file}, time.Now, slog.New(slog.DiscardHandler))); err == nil || strings.Contains(err.Error(), "cAnAry") {
				t.Errorf("NewTokens = %v", err)
			}
		})
	}
	w := newWorld(t, nil)
	if got := w.bearer("a.b.c"); got != http.StatusUnauthorized {
		t.Errorf("a token where there are none: %d", got)
	}
}
