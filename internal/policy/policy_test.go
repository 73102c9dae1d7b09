// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/policy"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

const unlisted = `ShardingUserPolicies exist, and none selects the namespace "team-a"; label the namespace, or change a policy.`

const notApplied = `ShardingUserPolicies select the namespace "team-a", and none of them applies to the system `

func TestPermission(t *testing.T) {
	inTeamA := map[string]string{"team": "a"}
	type policies = []v1alpha1.ShardingUserPolicy
	for name, tt := range map[string]struct {
		policies policies
		user     *v1alpha1.ShardingUser
		by       string
		refusal  string // after "No ShardingUserPolicy permits this user: ", without the full stop; or all of it
	}{
		"without policies everything is permitted":        {nil, userOf("root", withRoles("admin"), adopting), "", ""},
		"a policy permits what it says":                   {policies{policyOf("p")}, userOf("team-a-1", withRoles("viewer", "operator")), "p", ""},
		"a user without roles needs no pattern for roles": {policies{policyOf("p", roles())}, userOf("team-a-1"), "p", ""},
		"the resource's name is the username if the spec has none": {
			policies{policyOf("p", usernames("resource"))}, userOf(""), "p", "",
		},
		"another username is not permitted": {
			policies{policyOf("p")}, userOf("root"), "", `"p" does not permit the username "root"`,
		},
		"a role that no pattern matches is not permitted": {
			policies{policyOf("p")}, userOf("team-a-1", withRoles("viewer", "admin")), "", `"p" does not permit the role "admin"`,
		},
		"without patterns no role is permitted": {
			policies{policyOf("p", roles())}, userOf("team-a-1", withRoles("viewer")), "", `"p" does not permit the role "viewer"`,
		},
		"adoption is not permitted by itself": {
			policies{policyOf("p")}, userOf("team-a-1", adopting), "", `"p" does not permit adoptionPolicy IfUnowned`,
		},
		"adoption that is allowed":                         {policies{policyOf("p", adoption)}, userOf("team-a-1", adopting), "p", ""},
		"without a list each deletion policy is permitted": {policies{policyOf("p")}, userOf("team-a-1", leaving(v1alpha1.DeletionRetain)), "p", ""},
		"a deletion policy that is named is permitted": {
			policies{policyOf("p", deletions(v1alpha1.DeletionDeactivate))}, userOf("team-a-1", leaving(v1alpha1.DeletionDeactivate)), "p", "",
		},
		"a deletion policy that is not named is not permitted": {
			policies{policyOf("p", deletions(v1alpha1.DeletionDelete, v1alpha1.DeletionDeactivate))},
			userOf("team-a-1", leaving(v1alpha1.DeletionRetain)), "", `"p" does not permit deletionPolicy Retain`,
		},
		"a resource without a deletion policy is deleted": {
			policies{policyOf("p", deletions(v1alpha1.DeletionDelete))}, userOf("team-a-1", leaving("")), "p", "",
		},
		"a hash does not show the length of its password": {
			policies{policyOf("p", onPasswords(v1alpha1.PasswordTerms{MinLength: 8}))},
			userOf("team-a-1", withFormat(v1alpha1.PasswordFormatBcrypt)), "",
			`"p" does not permit password.format Bcrypt, because a hash does not show the length of its password`,
		},
		"a password in clear does": {
			policies{policyOf("p", onPasswords(v1alpha1.PasswordTerms{MinLength: 8}))},
			userOf("team-a-1", withFormat(v1alpha1.PasswordFormatPlain)), "p", "",
		},
		"a hash may become old": {
			policies{policyOf("p", onPasswords(v1alpha1.PasswordTerms{MaxAge: &metav1.Duration{Duration: time.Hour}}))},
			userOf("team-a-1", withFormat(v1alpha1.PasswordFormatBcrypt)), "p", "",
		},
		"all violations are named": {
			policies{policyOf("p")},
			userOf("root", withRoles("a", "b", "c", "d", "viewer"), adopting), "",
			`"p" does not permit the username "root", the role "a", "b", "c" and 1 more and adoptionPolicy IfUnowned`,
		},
		"two policies do not permit together what neither does alone": {
			policies{policyOf("names", usernames("*"), roles()), policyOf("roles", usernames("x"), roles("*"))},
			userOf("root", withRoles("admin")), "",
			`"names" does not permit the role "admin"; "roles" does not permit the username "root"`,
		},
		"a policy of another namespace permits no user here": {policies{policyOf("p", labelled("team", "b"))}, userOf("team-a-1"), "", unlisted},
		"policies of other namespaces are not named": {
			policies{policyOf("p", labelled("team", "b")), policyOf("q", labelled("team", "a"))},
			userOf("root"), "",
			`"q" does not permit the username "root"`,
		},
		"a policy without systems applies to all of them":    {policies{policyOf("p")}, userOf("team-a-1", ofSystem("orders")), "p", ""},
		"a policy applies to the systems that it names":      {policies{policyOf("p", systems("orders", "billing"))}, userOf("team-a-1", ofSystem("billing")), "p", ""},
		"the empty name is the default system":               {policies{policyOf("p", systems(""))}, userOf("team-a-1"), "p", ""},
		"a policy of another system permits no user of this": {policies{policyOf("p", systems("orders"))}, userOf("team-a-1", ofSystem("billing")), "", notApplied + `"billing"; add it to spec.systems of a policy.`},
		"a policy of a named system permits no default user": {policies{policyOf("p", systems("orders"))}, userOf("team-a-1"), "", notApplied + `""; add it to spec.systems of a policy.`},
		"policies of other systems are not named": {
			policies{policyOf("p", systems("orders")), policyOf("q", systems("billing"))},
			userOf("root", ofSystem("billing")), "",
			`"q" does not permit the username "root"`,
		},
		"a policy without a selector permits no user": {policies{policyOf("p", selecting(nil))}, userOf("team-a-1"), "", unlisted},
		"an invalid policy is a policy":               {policies{policyOf("p", usernames("("))}, userOf("team-a-1"), "", unlisted},
		"an invalid policy does not affect others": {
			policies{policyOf("a", usernames("(")), policyOf("p")}, userOf("team-a-1"), "p", "",
		},
		"the highest priority sets the terms":        {policies{policyOf("a"), policyOf("z", priority(1))}, userOf("team-a-1"), "z", ""},
		"of one priority the first by name":          {policies{policyOf("b"), policyOf("a"), policyOf("c")}, userOf("team-a-1"), "a", ""},
		"one that does not permit sets no terms":     {policies{policyOf("a"), policyOf("z", priority(1), usernames("x"))}, userOf("team-a-1"), "a", ""},
		"a lower priority permits what others won't": {policies{policyOf("a", usernames("root")), policyOf("z", priority(9))}, userOf("root"), "a", ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := image(t, tt.policies, tt.user)
			got := policy.New(tt.policies).Permission(inTeamA, tt.user, time.Time{})
			var want *user.Problem
			if tt.refusal != "" {
				want = &user.Problem{Reason: v1alpha1.ReasonNotPermitted, Message: tt.refusal}
				if tt.refusal != unlisted && !strings.HasPrefix(tt.refusal, notApplied) {
					want.Message = "No ShardingUserPolicy permits this user: " + tt.refusal + "."
				}
			}
			if diff := cmp.Diff(want, got.Refusal); diff != "" || got.By != tt.by {
				t.Errorf("it is permitted by %q, want %q; the refusal (-want +got):\n%s", got.By, tt.by, diff)
			}
			if after := image(t, tt.policies, tt.user); before != after {
				t.Errorf("Permission changed its input:\nbefore %s\nafter  %s", before, after)
			}
		})
	}
}

func image(t *testing.T, values ...any) string {
	t.Helper()
	content, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestTerms(t *testing.T) {
	hours := func(n int) *metav1.Duration { return &metav1.Duration{Duration: time.Duration(n) * time.Hour} }
	for name, tt := range map[string]struct {
		policy v1alpha1.ShardingUserPolicy
		want   user.Terms
	}{
		"none": {policyOf("p"), user.Terms{}},
		"a lockout": {
			policyOf("p", onLockout(v1alpha1.LockoutTerms{
				Mode: v1alpha1.LockoutEnforced, Attempts: 3, Duration: hours(1), MaxDuration: hours(24),
			})),
			user.Terms{Lockout: user.Lockout{Attempts: 3, Duration: time.Hour, Longest: 24 * time.Hour}},
		},
		"familiar addresses": {
			policyOf("p", onLockout(v1alpha1.LockoutTerms{FamiliarSources: new(true)})), user.Terms{Lockout: user.Lockout{Familiar: true}},
		},
		"a lockout as the settings have it": {policyOf("p", onLockout(v1alpha1.LockoutTerms{Mode: v1alpha1.LockoutEnforced})), user.Terms{}},
		"no lockout": {
			policyOf("p", onLockout(v1alpha1.LockoutTerms{Mode: v1alpha1.LockoutExempt}), onPasswords(v1alpha1.PasswordTerms{MinLength: 20})),
			user.Terms{Lockout: user.Lockout{Exempt: true}, MinPasswordLength: 20},
		},
		"passwords that become old": {
			policyOf("p", onPasswords(v1alpha1.PasswordTerms{MaxAge: hours(48)})), user.Terms{MaxPasswordAge: 48 * time.Hour},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := policy.New([]v1alpha1.ShardingUserPolicy{tt.policy}).Permission(nil, userOf("team-a-1"), time.Time{})
			if diff := cmp.Diff(tt.want, got.Terms); diff != "" || got.Refusal != nil {
				t.Errorf("the terms are other ones (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSelectors(t *testing.T) {
	const in, notIn = metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn
	const exists, absent = metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist
	for name, tt := range map[string]struct {
		selector option
		yes, no  []string // values of the label team; "-" where there is none
	}{
		"an empty one selects all":    {selecting(&v1alpha1.NamespaceSelector{}), []string{"a", "", "-"}, nil},
		"no selector selects nothing": {selecting(nil), nil, []string{"a", "", "-"}},
		"a label":                     {labelled("team", "a"), []string{"a"}, []string{"b", "A", "aa", "", "-"}},
		"a label with an empty value": {labelled("team", ""), []string{""}, []string{"a", "-"}},
		"In":                          {requiring("team", in, "a", "b"), []string{"a", "b"}, []string{"c", "", "-"}},
		"NotIn":                       {requiring("team", notIn, "a", "b"), []string{"c", "", "-"}, []string{"a", "b"}},
		"Exists":                      {requiring("team", exists), []string{"a", ""}, []string{"-"}},
		"DoesNotExist":                {requiring("team", absent), []string{"-"}, []string{"a", ""}},
		"In without values":           {requiring("team", in), nil, []string{"a", "", "-"}},
		"an unknown operator":         {requiring("team", "Gt", "1"), nil, []string{"2", "-"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := policyOf("p", tt.selector)
			check := func(value string, want bool) {
				t.Helper()
				labels := map[string]string{"other": "a"}
				if value != "-" {
					labels["team"] = value
				}
				policies := []v1alpha1.ShardingUserPolicy{p}
				permitted := policy.New(policies).Permission(labels, userOf("team-a-1"), time.Time{}).Refusal == nil
				if policy.Selects(&p, labels) != want || permitted != want || admits(t, policy.Index(policies), labels, userOf("team-a-1")) != want {
					t.Errorf("the label %q is not selected as it should be: %t", value, want)
				}
			}
			for _, value := range tt.yes {
				check(value, true)
			}
			for _, value := range tt.no {
				check(value, false)
			}
		})
	}
}

func TestAMissingNamespaceIsSelectedOnlyByItsName(t *testing.T) {
	const in, notIn = metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn
	for name, tt := range map[string]struct {
		policy    v1alpha1.ShardingUserPolicy
		permitted bool
	}{
		"all namespaces":                 {policyOf("p"), true},
		"its name":                       {policyOf("p", labelled(corev1.LabelMetadataName, "team-a")), true},
		"another name":                   {policyOf("p", labelled(corev1.LabelMetadataName, "team-b")), false},
		"one of several names":           {policyOf("p", requiring(corev1.LabelMetadataName, in, "team-a", "team-b")), true},
		"all names but another":          {policyOf("p", requiring(corev1.LabelMetadataName, notIn, "team-b")), true},
		"a label":                        {policyOf("p", labelled("team", "a")), false},
		"a label that it may not have":   {policyOf("p", requiring("team", notIn, "b")), false},
		"a label that must not be there": {policyOf("p", requiring("team", metav1.LabelSelectorOpDoesNotExist)), false},
		"nothing":                        {policyOf("p", selecting(nil)), false},
	} {
		set := policy.New([]v1alpha1.ShardingUserPolicy{tt.policy}).ForMissingNamespace()
		permission := set.Permission(map[string]string{corev1.LabelMetadataName: "team-a"}, userOf("team-a-1"), time.Time{})
		if got := permission.Refusal == nil; got != tt.permitted {
			t.Errorf("selected by %s: permitted %t, want %t", name, got, tt.permitted)
		}
	}
	if !policy.New(nil).ForMissingNamespace().IsEmpty() || policy.New([]v1alpha1.ShardingUserPolicy{policyOf("p", labelled("team", "a"))}).ForMissingNamespace().IsEmpty() {
		t.Error("a cluster whose policies are for other namespaces is taken for one without policies, or the reverse")
	}
}

func TestCheck(t *testing.T) {
	const pattern = " is invalid: a pattern contains only letters, digits, . _ : @ + - and the wildcards * and ?"
	for name, tt := range map[string]struct {
		policy v1alpha1.ShardingUserPolicy
		want   string
	}{
		"an ordinary one":         {policyOf("p"), ""},
		"one for no namespace":    {policyOf("p", selecting(nil)), ""},
		"a bad username":          {policyOf("p", usernames("a", "[b]")), "spec.usernames" + pattern},
		"an empty username":       {policyOf("p", usernames("")), "spec.usernames" + pattern},
		"a username of two lines": {policyOf("p", usernames("a\nb")), "spec.usernames" + pattern},
		"a bad role":              {policyOf("p", roles("a|b")), "spec.roles" + pattern},
		"a bad selector":          {policyOf("p", labelled("a..b/c", "x")), "spec.namespaceSelector is invalid: "},
		"a bad value of a label":  {policyOf("p", labelled("a", "-")), "spec.namespaceSelector is invalid: "},
	} {
		t.Run(name, func(t *testing.T) {
			err := policy.Check(&tt.policy)
			if (err == nil) != (tt.want == "") || (err != nil && !strings.HasPrefix(err.Error(), tt.want)) {
				t.Errorf("the error is %v, want %q", err, tt.want)
			}
		})
	}
}

func TestPriorityAndNameDecideAmongPermittingPolicies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policies, labels, u := anyPolicies(t), anyLabels(t), anyUser(t)
		got := policy.New(policies).Permission(labels, u, time.Time{})
		want, found := v1alpha1.ShardingUserPolicy{}, false
		for _, p := range policies {
			alone := policy.New([]v1alpha1.ShardingUserPolicy{p}).Permission(labels, u, time.Time{})
			if alone.Refusal != nil {
				continue
			}
			first := p.Spec.Priority > want.Spec.Priority || (p.Spec.Priority == want.Spec.Priority && p.Name < want.Name)
			if !found || first {
				want, found = p, true
			}
		}
		if got.By != want.Name || (got.Refusal == nil) != (found || len(policies) == 0) {
			t.Errorf("it is permitted by %q (%v), want %q", got.By, got.Refusal, want.Name)
		}
		slices.Reverse(policies) // whose order has no meaning
		if diff := cmp.Diff(got, policy.New(policies).Permission(labels, u, time.Time{})); diff != "" {
			t.Errorf("in another order the policies say something else:\n%s", diff)
		}
	})
}

// An Event holds a kilobyte.
func TestMessagesFitIntoAnEvent(t *testing.T) {
	var policies []v1alpha1.ShardingUserPolicy
	for i := range 100 {
		policies = append(policies, policyOf(fmt.Sprintf("%03d-%s", i, strings.Repeat("p", 249)),
			usernames("x"), onPasswords(v1alpha1.PasswordTerms{MinLength: 20})))
	}
	var long []v1alpha1.Role
	for i := range 64 {
		long = append(long, v1alpha1.Role(fmt.Sprintf("%02d%s", i, strings.Repeat("r", 61))))
	}
	u := userOf(strings.Repeat("u", 255), withRoles(long...), adopting, withFormat(v1alpha1.PasswordFormatBcrypt))
	for _, n := range []int{1, 2, 3, 4, 100} {
		message := policy.New(policies[:n]).Permission(nil, u, time.Time{}).Refusal.Message
		if len(message) >= 1000 {
			t.Errorf("%d policies give %d bytes:\n%s", n, len(message), message)
		}
		if !strings.Contains(message, policies[0].Name) || (n > 1) != strings.Contains(message, fmt.Sprintf(" and %d more.", n-1)) {
			t.Errorf("%d policies: the message lacks the first or the number of the others:\n%s", n, message)
		}
	}
	short := []v1alpha1.ShardingUserPolicy{policyOf("a"), policyOf("b"), policyOf("c"), policyOf("d")}
	message := policy.New(short).Permission(nil, userOf("root"), time.Time{}).Refusal.Message
	const want = `No ShardingUserPolicy permits this user: "a" does not permit the username "root"; "b" does not permit the username "root"; ` +
		`"c" does not permit the username "root" and 1 more.`
	if message != want {
		t.Errorf("the message is\n%s\nwant\n%s", message, want)
	}
}
