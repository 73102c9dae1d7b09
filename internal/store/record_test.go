// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

func TestWhatIsPutOnRecordIsOneLineThatCanBePrinted(t *testing.T) {
	for name, tt := range map[string]struct{ text, username, agent string }{
		"what can be printed stays":    {"Mozilla/5.0 (X11)", "Mozilla/5.0 (X11)", "Mozilla/5.0 (X11)"},
		"line ends are escaped":        {"a\r\nb\vc\u2028d", `a\r\nb\vc\u2028d`, `a\r\nb\vc\u2028d`},
		"ANSI codes are escaped":       {"\x1b[31mred\x9b1m", `\x1b[31mred\x9b1m`, `\x1b[31mred\x9b1m`},
		"NUL is escaped":               {"a\x00b", `a\x00b`, `a\x00b`},
		"what is no UTF-8 is escaped":  {"a\xff\xc3", `a\xff\xc3`, `a\xff\xc3`},
		"invisible marks are escaped":  {"admin\u200b\u202e", `admin\u200b\u202e`, `admin\u200b\u202e`},
		"letters of all scripts stay":  {"аdmin 日本 é", "аdmin 日本 é", `\u0430dmin \u65e5\u672c \u00e9`},
		"signs beyond the first plane": {"😀", "😀", `\U0001f600`},
		"backslashes stay":             {`DOMAIN\alice`, `DOMAIN\alice`, `DOMAIN\alice`},
		"nothing stays nothing":        {"", "", ""},
		"it is cut":                    {strings.Repeat("x", 1<<20), strings.Repeat("x", 255), strings.Repeat("x", 255)},
		"it is cut between characters": {strings.Repeat("é", 300), strings.Repeat("é", 255), strings.Repeat(`\u00e9`, 42)},
		"no escape is cut":             {strings.Repeat("x", 254) + "\n", strings.Repeat("x", 254), strings.Repeat("x", 254)},
	} {
		t.Run(name, func(t *testing.T) {
			a := store.Attempt{Username: tt.text, Alias: "digest", Source: tt.text, UserAgent: tt.text}
			got := a.Record(true)
			if got.Username != tt.username {
				t.Errorf("the username is %q, want %q", got.Username, tt.username)
			}
			if got.UserAgent != tt.agent {
				t.Errorf("the user agent is %q, want %q", got.UserAgent, tt.agent)
			}
			if !strings.HasPrefix(tt.agent, got.Source) || utf8.RuneCountInString(got.Source) > store.MaxSource {
				t.Errorf("the source is %q, want the beginning of %q", got.Source, tt.agent)
			}
			if again := got.Clean(); again != got {
				t.Errorf("cleaned again it is %+v, want %+v", again, got)
			}
			dirty := store.Record{ID: 7, Outcome: store.Failed, Username: tt.text, Source: tt.text, UserAgent: tt.text}
			got.ID, got.Outcome = 7, store.Failed
			if clean := dirty.Clean(); clean != got {
				t.Errorf("cleaned it is %+v, want %+v", clean, got)
			}
			if got := a.Record(false).Username; got != "digest" {
				t.Errorf("the username of no account is %q, want the alias", got)
			}
		})
	}
}
