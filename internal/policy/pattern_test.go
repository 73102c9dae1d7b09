// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/policy"
)

// matches reports by the definition whether a glob matches a whole text.
func matches(glob, text string) bool {
	switch {
	case glob == "":
		return text == ""
	case glob[0] == '*':
		return matches(glob[1:], text) || (text != "" && matches(glob, text[1:]))
	case text == "":
		return false
	}
	return (glob[0] == '?' || glob[0] == text[0]) && matches(glob[1:], text[1:])
}

// permits reports whether a policy with this glob permits the username.
func permits(glob v1alpha1.Glob, username string) bool {
	set := policy.New([]v1alpha1.ShardingUserPolicy{policyOf("p", usernames(glob))})
	return set.Permission(nil, userOf(username), time.Time{}).Refusal == nil
}

func TestGlobs(t *testing.T) {
	for name, tt := range map[string]struct {
		glob     v1alpha1.Glob
		username string
		want     bool
	}{
		"a name without wildcards matches itself":      {"alice", "alice", true},
		"it has to match from the beginning":           {"alice", "malice", false},
		"it has to match to the end":                   {"alice", "alice2", false},
		"it is compared byte by byte":                  {"alice", "Alice", false},
		"* matches anything":                           {"*", "alice", true},
		"* at the end matches what begins so":          {"team-a-*", "team-a-alice", true},
		"* matches nothing as well":                    {"team-a-*", "team-a-", true},
		"* does not match another beginning":           {"team-a-*", "team-b-alice", false},
		"* matches dots and @, for a name has no path": {"*@example.com", "a.b+c@example.com", true},
		"two * in a row are one":                       {"a**b", "ab", true},
		"? matches one character":                      {"user-?", "user-1", true},
		"? does not match the empty text":              {"user-?", "user-", false},
		"? does not match two":                         {"user-?", "user-12", false},
		". is a dot":                                   {"a.b", "axb", false},
		"+ is a plus":                                  {"a+", "aa", false},
		"+ matches a plus":                             {"a+", "a+", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := permits(tt.glob, tt.username); got != tt.want || matches(string(tt.glob), tt.username) != tt.want {
				t.Errorf("%q matches %q: %t, want %t", tt.glob, tt.username, got, tt.want)
			}
		})
	}
}

func TestGlobsMatchTheirDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		glob, username := anyGlob.Draw(t, "glob"), anyName.Draw(t, "username")
		if got, want := permits(glob, username), matches(string(glob), username); got != want {
			t.Errorf("%q matches %q: %t, want %t", glob, username, got, want)
		}
	})
}

func FuzzGlob(f *testing.F) {
	for _, seed := range [][2]string{
		{"*", "alice"},
		{"a?c", "abc"},
		{"team-a-*", "team-a-x"},
		{"a.b", "axb"},
		{"**?**", "x"},
		{"(", "("},
		{`\Q*`, "a"},
		{"[a-z]", "a"},
		{"", "a"},
		{"a\n", "a"},
		{"ä*", "ä"},
		{"\xff", "a"},
		{"*", "a\nb"},
		{strings.Repeat("*a", 120), strings.Repeat("a", 200)},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, glob, username string) {
		p := policyOf("p", usernames(v1alpha1.Glob(glob)))
		index := policy.Index([]v1alpha1.ShardingUserPolicy{p})["p"]
		if err := policy.Check(&p); err != nil {
			if index != "username ^$" {
				t.Errorf("an invalid glob permits a user: %s", index)
			}
			return
		}
		if most := 2*len(glob) + 100; len(index) > most {
			t.Errorf("%d bytes of a glob became %d, want at most %d", len(glob), len(index), most)
		}
		got := permits(v1alpha1.Glob(glob), username)
		// A username is limited by the CRD, and the definition takes exponential time.
		if strings.Trim(username, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@+-") != "" || username == "" ||
			len(username) > 32 || len(glob) > 12 {
			return
		}
		if want := matches(glob, username); got != want {
			t.Errorf("%q matches %q: %t, want %t", glob, username, got, want)
		}
	})
}
