// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"strings"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestSuspicions(t *testing.T) {
	all := user.NewSuspicions(func(user.Suspicion) bool { return true })
	none := user.NewSuspicions(func(user.Suspicion) bool { return false })
	if none != "" || none.Reason() != "" || none.String() != "" || none.Has(user.SuspectEdge) {
		t.Errorf("no suspicion is %q: %s %s", string(none), none.Reason(), none)
	}
	if n := len(strings.Split(string(all), ",")); n != 14 || !all.Has(user.SuspectBase64) || !all.Has(user.SuspectUsername) {
		t.Errorf("all %d suspicions are %q", n, string(all))
	}
	// An Event's message is cut at a kilobyte, and a condition's may have 32. The end of the longest one must not be
	// lost.
	if len(all.String()) > 2000 {
		t.Errorf("all suspicions have %d bytes", len(all.String()))
	}
	for _, one := range strings.Split(string(all), ",") {
		s := user.Suspicions(one)
		if s.Reason() == "" || s.String() == "" || strings.HasSuffix(s.String(), ".") {
			t.Errorf("%s is reported as %s: it %s", one, s.Reason(), s)
		}
	}
	for set, want := range map[user.Suspicions]string{
		"edge,username": "HasEdgeSpace", "username": "UsernameDiffers", "of-later": "", "of-later,quotes": "LooksQuoted", "base64,quotes": "LooksEncoded",
	} {
		if got := set.Reason(); got != want {
			t.Errorf("the reason of %s is %q, want %q", string(set), got, want)
		}
	}
}

func TestNoSuchKeyListsTheKeys(t *testing.T) {
	long := strings.Repeat("x", 253)
	for name, tt := range map[string]struct {
		there []string
		want  string
	}{
		"none":    {nil, `it is empty: add the key`},
		"one":     {[]string{"pass"}, `its only key is "pass": add the key, or set spec.password.secretRef.key to "pass"`},
		"several": {[]string{"b", "a"}, `its keys are "a", "b": add the key, or name one of these in spec.password.secretRef.key`},
		"many": {
			strings.Split("l k j i h g f e d c b a", " "),
			`its keys are "a", "b", "c", "d", "e", "f", "g", "h", "i", "j" and 2 more: add the key, or name one of these in spec.password.secretRef.key`,
		},
		"one that is long": {
			[]string{long}, `its keys are "` + long[:40] + `...": add the key, or name one of these in spec.password.secretRef.key`,
		},
		"one that is hostile": {
			[]string{"a\x1b[2J", "b"}, `its keys are "a\x1b[2J", "b": add the key, or name one of these in spec.password.secretRef.key`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := user.NoSuchKey("alice", "password", tt.there)
			if want := `Secret "alice" has no key "password"; ` + tt.want + "."; got.Message != want {
				t.Errorf("it is %s, want %s", got.Message, want)
			}
			if got.Reason != "SecretKeyNotFound" {
				t.Errorf("the reason is %s", got.Reason)
			}
		})
	}
	if n := len(user.NoSuchKey(long, long, slicesOf(long, 100)).Message); n > 1500 {
		t.Errorf("the longest has %d bytes", n)
	}
}

func slicesOf(text string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = text
	}
	return list
}
