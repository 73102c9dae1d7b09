// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"
)

func TestResourceNames(t *testing.T) {
	for name, tt := range map[string]struct{ username, want string }{
		"a username that can be a name is it":        {"alice", "alice"},
		"dots and hyphens are no reason for another": {"alice.b-c.example.com", "alice.b-c.example.com"},
		"letters become small":                       {"Admin", "admin-xc1c224b03c"},
		"what no name can hold becomes a hyphen":     {"Alice@Example.com", "alice-example-com-xf8db6f2f05"},
		"and so do many":                             {"a_+@_b", "a-b-x7996df253a"},
		"nor can a name end with a hyphen":           {"alice-", "alice-xe2c101bb59"},
		"a dot needs a letter or digit beside it":    {"a.-b", "a-b-xcf3cd0bc6d"},
		"what looks like ours gets one of ours":      {"admin-x0123456789", "admin-x0123456789-xc0eb98d5f4"},
		"what is too long is cut":                    {strings.Repeat("a", 255), strings.Repeat("a", 40) + "-x"},
	} {
		t.Run(name, func(t *testing.T) {
			got := resourceName(tt.username)
			if strings.HasSuffix(tt.want, "-x") {
				got = got[:len(got)-10]
			}
			if got != tt.want {
				t.Errorf("resourceName(%q) = %q, want %q", tt.username, got, tt.want)
			}
		})
	}
}

// Whatever the API server takes for a username: its name is legal, as is that of its Secret and of their files, and no two have
// the same.
func TestResourceNamesAreLegalAndDistinct(t *testing.T) {
	username := rapid.OneOf(
		rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._@+-]{0,254}`),
		rapid.StringMatching(`[aA][aA.@-]{0,3}`), // much alike
		rapid.StringMatching(`[a-z]{1,3}-x[0-9a-f]{10}`),
	)
	rapid.Check(t, func(t *rapid.T) {
		names := map[string]string{}
		for _, u := range rapid.SliceOfN(username, 1, 50).Draw(t, "usernames") {
			name := resourceName(u)
			if problems := validation.IsDNS1123Subdomain(name + SecretSuffix); len(problems) > 0 {
				t.Fatalf("%q gets %q: %v", u, name, problems)
			}
			if len(name+".yaml") > 255 {
				t.Fatalf("%q gets a name of %d characters", u, len(name))
			}
			if other, taken := names[name]; taken && other != u {
				t.Fatalf("%q and %q both get %q", u, other, name)
			}
			names[name] = u
		}
	})
}
