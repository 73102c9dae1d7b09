// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

const (
	badGlob = "a pattern contains only letters, digits, . _ : @ + - and the wildcards * (any characters) and ? (one character), " +
		"for example team-a-*"
	badLabelKey = "the key of a label is an optional domain and /, and a name of up to 63 letters, digits and - _ ., " +
		"for example kubernetes.io/metadata.name"
	badLabelValue = "the value of a label has up to 63 letters, digits and - _ ., and starts and ends with a letter or digit"
	noLabels      = `matchLabels without a label that has a value would select all namespaces; give each label a value, "" for an empty one, ` +
		"or remove matchLabels"
	badValues   = "In and NotIn need values, Exists and DoesNotExist must not have values"
	badLongest  = "maxDuration requires duration, and must not be less than duration"
	badExempt   = "mode Exempt never locks an account; remove attempts, duration and maxDuration"
	openExempt  = "passwords of an account that is never locked can be guessed without limit; with lockout.mode Exempt, set password.minLength to at least 20"
	badLock     = "must be a duration from 1s to 8760h, in hours, minutes and seconds, for example 15m"
	badLongLock = "must be a duration from 1s to 8760h, in hours, minutes and seconds, for example 24h"
	badAge      = "must be a duration from 1s to 87600h, in hours, minutes and seconds, for example 2160h"
	noTerms     = "password is empty; set minLength, maxAge or both, or remove password"
)

// policyManifest returns a ShardingUserPolicy as a user may write it; nil means no spec.
func policyManifest(name string, spec fields) *unstructured.Unstructured {
	p := &unstructured.Unstructured{Object: fields{}}
	p.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ShardingUserPolicy"))
	p.SetName(name)
	if spec != nil {
		p.Object["spec"] = runtime.DeepCopyJSON(spec)
	}
	return p
}

// attemptPolicy returns the response of the API server to a policy for all users with these fields, without storing it.
func attemptPolicy(t *testing.T, c client.Client, more fields) string {
	t.Helper()
	spec := with(fields{"namespaceSelector": fields{}, "usernames": []any{"*"}}, more)
	return complaints(t, c.Create(t.Context(), policyManifest("p", spec), client.DryRunAll))
}

func many(n int, item func(i int) any) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = item(i)
	}
	return list
}

// longGlob is the i-th of the longest globs, which match with the most of trouble.
func longGlob(i int) any { return fmt.Sprintf("%02d%s", i, strings.Repeat("*?a", 84)+"*") }

func TestPolicyNeedsToSayWhomAndWhere(t *testing.T) {
	t.Parallel()
	c := server(t)
	for name, tt := range map[string]struct {
		spec fields
		want string
	}{
		"no spec at all":         {nil, "spec: Required value"},
		"an empty spec, where":   {fields{}, "spec.namespaceSelector: Required value"},
		"an empty spec, whom":    {fields{}, "spec.usernames: Required value"},
		"a selector of null":     {fields{"namespaceSelector": nil, "usernames": []any{"*"}}, "spec.namespaceSelector: Required value"},
		"no usernames":           {fields{"namespaceSelector": fields{}, "usernames": []any{}}, "spec.usernames: spec.usernames in body should have at least 1 items"},
		"usernames of null":      {fields{"namespaceSelector": fields{}, "usernames": nil}, "spec.usernames: Required value"},
		"the least that is one":  {fields{"namespaceSelector": fields{}, "usernames": []any{"*"}}, ""},
		"a selector as a string": {fields{"namespaceSelector": "team-a", "usernames": []any{"*"}}, "spec.namespaceSelector in body must be of type object"},
	} {
		t.Run(name, func(t *testing.T) {
			got := complaints(t, c.Create(t.Context(), policyManifest("p", tt.spec), client.DryRunAll))
			// The field and what is wrong with it, without the value between them.
			expect(t, got, strings.Replace(tt.want, "spec.usernames: spec.usernames in body", "spec.usernames in body", 1))
		})
	}
}

func TestPolicyGlobs(t *testing.T) {
	t.Parallel()
	c := server(t)
	for _, field := range []string{"usernames", "roles"} {
		globs := func(list ...any) string { return attemptPolicy(t, c, fields{field: list}) }
		for name, tt := range map[string]struct {
			globs []any
			want  string
		}{
			"a wildcard":           {[]any{"*"}, ""},
			"all that may be":      {[]any{"?a-Z.0_:@+*"}, ""},
			"64 of 255 characters": {many(64, longGlob), ""},
			"65":                   {many(65, longGlob), "Too many: 65: must have at most 64 items"},
			"256 characters":       {[]any{strings.Repeat("a", 256)}, "[0]: Too long: may not be more than 255"},
			"the same twice":       {[]any{"a", "b", "a"}, `pattern "a" is listed twice; list each pattern once`},
			"an empty one":         {[]any{"a", ""}, "[1]: Invalid value: \"\": " + badGlob},
			"null":                 {[]any{nil}, "[0] in body must be of type string"},
			"a class, as in sh":    {[]any{"team-[ab]"}, badGlob},
			"a regular expression": {[]any{"^team.*$"}, badGlob},
			"a list in a string":   {[]any{"a,b"}, badGlob},
		} {
			t.Run(field+" "+name, func(t *testing.T) { expect(t, globs(tt.globs...), tt.want) })
		}
		for name, s := range unlikely {
			t.Run(field+" with "+name, func(t *testing.T) { expect(t, globs(s), badGlob) })
		}
	}
}

func TestPolicySystems(t *testing.T) {
	t.Parallel()
	c := server(t)
	const bad = `the name of a system contains only lower-case letters, digits and -, and starts and ends with a letter or digit, for example orders; the default system is ""`
	for name, tt := range map[string]struct {
		systems []any
		want    string
	}{
		"the default one and another": {[]any{"", "orders"}, ""},
		"none":                        {[]any{}, "spec.systems in body should have at least 1 items"},
		"the same twice":              {[]any{"a", "b", "a"}, `system "a" is listed twice; list each system once`},
		"a wildcard":                  {[]any{"*"}, bad},
		"64 characters":               {[]any{strings.Repeat("a", 64)}, "Too long: may not be more than 63"},
		"null":                        {[]any{nil}, "[0] in body must be of type string"},
	} {
		t.Run(name, func(t *testing.T) { expect(t, attemptPolicy(t, c, fields{"systems": tt.systems}), tt.want) })
	}
}

func TestPolicyLabels(t *testing.T) {
	t.Parallel()
	c := server(t)
	labels := func(l fields) string {
		return attemptPolicy(t, c, fields{"namespaceSelector": fields{"matchLabels": l}})
	}
	for name, tt := range map[string]struct {
		labels fields
		want   string
	}{
		"a label":                        {fields{"kubernetes.io/metadata.name": "team-a"}, ""},
		"a label with an empty value":    {fields{"team": ""}, ""},
		"a label that lacks its value":   {fields{"team": nil}, noLabels},
		"none":                           {fields{}, noLabels},
		"a value of 63 characters":       {fields{"team": strings.Repeat("a", 63)}, ""},
		"a value of 64 characters":       {fields{"team": strings.Repeat("a", 64)}, "Too long: may not be more than 63"},
		"a value that starts with a dot": {fields{"team": ".a"}, badLabelValue},
		"a value with a space":           {fields{"team": "a b"}, badLabelValue},
		"a value with a wildcard":        {fields{"team": "team-*"}, badLabelValue},
		"a value that is a number":       {fields{"team": int64(1)}, "in body must be of type string"},
	} {
		t.Run(name, func(t *testing.T) { expect(t, labels(tt.labels), tt.want) })
	}
	// A key that the API server took and no selector takes would make a policy that permits nobody.
	long, domain := strings.Repeat("a", 63), strings.Repeat(strings.Repeat("d", 49)+".", 5)+"ddd"
	for _, key := range []string{
		"a", "A", "0", "a.b_c-D", long, long + "a", domain + "/" + long, domain + "d/a", "a.b/c", "a..b/c", ".a/b", "a./b", "-a/b", "a-/b", "A/b",
		"a_b/c", "/a", "a/", "a/b/c", "", " ", "a b", "-a", "a-", ".a", "a.", "a=b", "ä", "a\n", "a*",
	} {
		want := ""
		if len(validation.IsQualifiedName(key)) > 0 {
			want = badLabelKey
		}
		t.Run(fmt.Sprintf("the key %.20q of %d characters", key, len(key)), func(t *testing.T) {
			expect(t, labels(fields{key: "x"}), want)
			got := attemptPolicy(t, c, fields{"namespaceSelector": fields{"matchExpressions": []any{fields{"key": key, "operator": "Exists"}}}})
			if (got == "") != (want == "") {
				t.Errorf("as a requirement it is answered with\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestPolicyRequirements(t *testing.T) {
	t.Parallel()
	c := server(t)
	for name, tt := range map[string]struct {
		requirement fields
		want        string
	}{
		"In":                         {fields{"key": "a", "operator": "In", "values": []any{"x", ""}}, ""},
		"NotIn":                      {fields{"key": "a", "operator": "NotIn", "values": []any{"x"}}, ""},
		"Exists":                     {fields{"key": "a", "operator": "Exists"}, ""},
		"DoesNotExist with an empty": {fields{"key": "a", "operator": "DoesNotExist", "values": []any{}}, ""},
		"In without values":          {fields{"key": "a", "operator": "In"}, badValues},
		"NotIn with an empty list":   {fields{"key": "a", "operator": "NotIn", "values": []any{}}, badValues},
		"Exists with values":         {fields{"key": "a", "operator": "Exists", "values": []any{"x"}}, badValues},
		"DoesNotExist with values":   {fields{"key": "a", "operator": "DoesNotExist", "values": []any{"x"}}, badValues},
		"an operator of nodes":       {fields{"key": "a", "operator": "Gt"}, `Unsupported value: "Gt": supported values: "In", "NotIn", "Exists", "DoesNotExist"`},
		"no key":                     {fields{"operator": "Exists"}, "key: Required value"},
		"a key that is empty":        {fields{"key": "", "operator": "Exists"}, badLabelKey},
		"a key of 318 characters":    {fields{"key": strings.Repeat("a", 318), "operator": "Exists"}, "Too long: may not be more than 317"},
		"no operator":                {fields{"key": "a"}, "operator: Required value"},
		"a bad value":                {fields{"key": "a", "operator": "In", "values": []any{"-"}}, badLabelValue},
		"a value twice":              {fields{"key": "a", "operator": "In", "values": []any{"x", "x"}}, "Duplicate value"},
		"a value of null":            {fields{"key": "a", "operator": "In", "values": []any{nil}}, "in body must be of type string"},
		"65 values":                  {fields{"key": "a", "operator": "In", "values": many(65, func(i int) any { return fmt.Sprint(i) })}, "must have at most 64 items"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, attemptPolicy(t, c, fields{"namespaceSelector": fields{"matchExpressions": []any{tt.requirement}}}), tt.want)
		})
	}
}

// TestPolicyAtAllItsLimits shows that the rules are not too costly to be checked.
func TestPolicyAtAllItsLimits(t *testing.T) {
	t.Parallel()
	c := server(t)
	requirements := func(n int) []any {
		return many(n, func(i int) any {
			return fields{
				"key": fmt.Sprintf("%s/k%d", strings.Repeat("d", 253), i), "operator": "In",
				"values": many(64, func(i int) any { return fmt.Sprintf("%02d%s", i, strings.Repeat("v", 61)) }),
			}
		})
	}
	labels := func(n int) fields {
		all := fields{}
		for i := range n {
			all[fmt.Sprintf("%s/k%d", strings.Repeat("d", 253), i)] = strings.Repeat("v", 63)
		}
		return all
	}
	full := fields{
		"namespaceSelector": fields{"matchLabels": labels(16), "matchExpressions": requirements(16)},
		"usernames":         many(64, longGlob), "roles": many(64, longGlob), "adoption": "Allowed", "priority": int64(1000000),
		"lockout":  fields{"mode": "Enforced", "attempts": int64(1000), "duration": "8760h", "maxDuration": "8760h", "familiarSources": true},
		"password": fields{"minLength": int64(72), "maxAge": "87600h"},
	}
	expect(t, attemptPolicy(t, c, full), "")
	expect(t, attemptPolicy(t, c, with(full, fields{"namespaceSelector": fields{"matchExpressions": requirements(17)}})), "must have at most 16 items")
	expect(t, attemptPolicy(t, c, with(full, fields{"namespaceSelector": fields{"matchLabels": labels(17)}})), "must have at most 16 items")
}

func TestPolicyTerms(t *testing.T) {
	t.Parallel()
	c := server(t)
	strong := fields{"minLength": int64(20)}
	for name, tt := range map[string]struct {
		lockout, password any // nil where there is none
		want              string
	}{
		"an empty lockout":              {fields{}, nil, ""},
		"one attempt for a second":      {fields{"attempts": int64(1), "duration": "1s", "maxDuration": "1s"}, nil, ""},
		"no attempt":                    {fields{"attempts": int64(0)}, nil, "spec.lockout.attempts in body should be greater than or equal to 1"},
		"1001 attempts":                 {fields{"attempts": int64(1001)}, nil, "spec.lockout.attempts in body should be less than or equal to 1000"},
		"a lock that grows from none":   {fields{"maxDuration": "1h"}, nil, badLongest},
		"a lock that shrinks":           {fields{"duration": "1h", "maxDuration": "59m59s"}, nil, badLongest},
		"a lock in two units":           {fields{"duration": "59m60s", "maxDuration": "1h"}, nil, ""},
		"an exemption":                  {fields{"mode": "Exempt"}, strong, ""},
		"an exemption of short ones":    {fields{"mode": "Exempt"}, fields{"minLength": int64(19)}, "spec.lockout: Invalid value: " + openExempt},
		"an exemption of old ones":      {fields{"mode": "Exempt"}, fields{"maxAge": "1h"}, openExempt},
		"an exemption of any":           {fields{"mode": "Exempt"}, nil, openExempt},
		"an exemption with attempts":    {fields{"mode": "Exempt", "attempts": int64(9)}, strong, badExempt},
		"an exemption with a duration":  {fields{"mode": "Exempt", "duration": "1h"}, strong, badExempt},
		"an exemption with a longest":   {fields{"mode": "Exempt", "maxDuration": "1h"}, strong, badExempt},
		"a mode that nobody knows":      {fields{"mode": "exempt"}, strong, `Unsupported value: "exempt": supported values: "Enforced", "Exempt"`},
		"a password of one character":   {nil, fields{"minLength": int64(1)}, ""},
		"a password of none":            {nil, fields{"minLength": int64(0)}, "spec.password.minLength in body should be greater than or equal to 1"},
		"a password of 73":              {nil, fields{"minLength": int64(73)}, "spec.password.minLength in body should be less than or equal to 72"},
		"terms that ask for nothing":    {nil, fields{}, noTerms},
		"terms of null":                 {nil, fields{"minLength": nil}, noTerms},
		"passwords that become old":     {nil, fields{"maxAge": "87600h"}, ""},
		"the same in seconds":           {nil, fields{"maxAge": "315360000s"}, ""},
		"passwords that become too old": {nil, fields{"maxAge": "87600h1s"}, badAge},
	} {
		t.Run(name, func(t *testing.T) {
			more := fields{}
			if tt.lockout != nil {
				more["lockout"] = tt.lockout
			}
			if tt.password != nil {
				more["password"] = tt.password
			}
			expect(t, attemptPolicy(t, c, more), tt.want)
		})
	}
	for name, tt := range map[string]struct {
		more fields
		want string
	}{
		"adoption":            {fields{"adoption": "Allowed"}, ""},
		"adoption as a user":  {fields{"adoption": "IfUnowned"}, `spec.adoption: Unsupported value: "IfUnowned": supported values: "Forbidden", "Allowed"`},
		"a negative priority": {fields{"priority": int64(-1)}, "spec.priority in body should be greater than or equal to 0"},
		"too high a priority": {fields{"priority": int64(1000001)}, "spec.priority in body should be less than or equal to 1000000"},
	} {
		t.Run(name, func(t *testing.T) { expect(t, attemptPolicy(t, c, tt.more), tt.want) })
	}
}

// A duration that Go does not read would break each client's list of all the policies.
func TestPolicyDurationsCanBeRead(t *testing.T) {
	t.Parallel()
	c := server(t)
	places := map[string]struct {
		more func(any) fields
		most time.Duration
		want string
	}{
		"lockout.duration":    {func(d any) fields { return fields{"lockout": fields{"duration": d}} }, 8760 * time.Hour, badLock},
		"lockout.maxDuration": {func(d any) fields { return fields{"lockout": fields{"duration": "1s", "maxDuration": d}} }, 8760 * time.Hour, badLongLock},
		"password.maxAge":     {func(d any) fields { return fields{"password": fields{"maxAge": d}} }, 87600 * time.Hour, badAge},
	}
	for place, p := range places {
		for _, text := range []string{
			"1s", "59s", "1m", "15m", "1h", "1h30m", "1h30m15s", "15m15m", "8760h", "525600m", "31536000s",
			"", "0", "0s", "1", "15", "15 m", " 15m", "15m\n", "-1h", "+1h", "1.5h", "1d", "1w", "1ms", "999ms", "1us", "1µs", "1ns", "h", "1hm", "1H",
			"P1D", "forever", "8760h1s", "87601h", "999999h", "9999999h", "9999999999h", "999999999999999h", "999999h999999h9h", "9999999m9999999m",
			"153722867281m", "9223372036854775", "9223372037s", "9223372036854s",
		} {
			t.Run(fmt.Sprintf("%s %q", place, text), func(t *testing.T) {
				got := attemptPolicy(t, c, p.more(text))
				d, err := time.ParseDuration(text)
				fits := err == nil && d >= time.Second && d <= p.most
				if got == "" && !fits {
					t.Errorf("it is accepted, and is %s (%v)", d, err)
				}
				if plain := strings.Trim(text, "0123456789hms") == ""; got != "" && fits && plain {
					t.Errorf("it is refused:\n%s", got)
				}
				if got != "" {
					expect(t, got, "spec."+place+": Invalid value: "+fmt.Sprintf("%q", text)+": "+p.want)
				}
				if strings.Contains(got, "evaluating rule") {
					t.Errorf("a rule came to grief, and says so:\n%s", got)
				}
			})
		}
		t.Run(place+" of 17 characters", func(t *testing.T) {
			expect(t, attemptPolicy(t, c, p.more(strings.Repeat("0", 16)+"s")), "Too long: may not be more than 16")
		})
		t.Run(place+" as a number", func(t *testing.T) {
			expect(t, attemptPolicy(t, c, p.more(int64(900))), "in body must be of type string")
		})
	}
}
