// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"strconv"
	"testing"
	"unicode/utf8"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// The texts of a client are recorded in one line that can be printed and is not too long. Recorded texts stay as they are when
// they are recorded again.
func FuzzRecord(f *testing.F) {
	for _, s := range []string{"", "alice", "a\r\nb\x1b[31m", "\xff\xc3", "\u2028\u202e\x00", `DOMAIN\alice`, "😀é", `\x0`, "\\"} {
		f.Add(s, s, s)
	}
	f.Fuzz(func(t *testing.T, username, source, agent string) {
		a := store.Attempt{Username: username, Alias: "digest", Source: source, UserAgent: agent}
		got := a.Record(true)
		for _, text := range []struct {
			text string
			most int
			is   func(rune) bool
		}{
			{got.Username, store.MaxUsername, strconv.IsPrint},
			{got.Source, store.MaxSource, isPrintableASCII},
			{got.UserAgent, store.MaxUserAgent, isPrintableASCII},
		} {
			if n := utf8.RuneCountInString(text.text); n > text.most || !utf8.ValidString(text.text) {
				t.Fatalf("%q has %d characters, or is no UTF-8", text.text, n)
			}
			for _, r := range text.text {
				if !text.is(r) {
					t.Fatalf("%q has %U", text.text, r)
				}
			}
		}
		if again := got.Clean(); again != got {
			t.Fatalf("%+v is %+v once more", got, again)
		}
		if got := a.Record(false); got.Username != "digest" {
			t.Fatalf("a username that no account has is recorded as %q", got.Username)
		}
	})
}

func isPrintableASCII(r rune) bool { return ' ' <= r && r <= '~' }
