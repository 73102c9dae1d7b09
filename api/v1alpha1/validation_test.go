// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	letters  = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	digits   = "0123456789"
	alphabet = letters + digits

	badUsername = "a username starts with a letter or digit and contains only letters, digits and . _ @ + -, " +
		"for example alice or alice@example.com"
	badRole = "a role starts with a letter or digit and contains only letters, digits and . _ : -, for example operator"
	badName = "the name of a Secret contains only lower-case letters, digits, - and ., and starts and ends with a letter or digit, " +
		"for example alice-password"
	badKey = "a key of a Secret contains only letters, digits and - _ ., for example password"
)

// unlikely are strings that look like a name, or would be one to a careless program.
var unlikely = map[string]string{
	"Cyrillic а":                  "аdmin",
	"a zero width space":          "admin\u200b",
	"a trailing newline":          "admin\n",
	"a second line":               "admin\nroot",
	"a trailing carriage return":  "admin\r",
	"a trailing space":            "admin ",
	"a leading space":             " admin",
	"an umlaut":                   "jörg",
	"an umlaut in two characters": "jo\u0308rg",
	"a full-width letter":         "ａdmin",
	"an Arabic digit":             "admin٣",
	"an emoji":                    "admin😀",
	"a right-to-left override":    "admin\u202e",
	"a byte order mark":           "\ufeffadmin",
	"a NUL":                       "admin\x00",
}

func TestUsername(t *testing.T) {
	t.Parallel()
	c := server(t)
	username := func(name string) string { return attempt(t, c, fields{"username": name}) }
	for name, tt := range map[string]struct{ username, want string }{
		"an ordinary one":       {"alice", ""},
		"an address":            {"Alice.Smith+test@example-1.com", ""},
		"one character":         {"a", ""},
		"one digit":             {"0", ""},
		"255 characters":        {strings.Repeat("a", 255), ""},
		"256 characters":        {strings.Repeat("a", 256), "spec.username: Too long: may not be more than 255"},
		"a megabyte":            {strings.Repeat("a", 1<<20), "spec.username: Too long: may not be more than 255"},
		"none at all":           {"", "spec.username: Invalid value: \"\": " + badUsername},
		"what SQL would choke":  {"alice'; DROP TABLE users; --", badUsername},
		"another one's address": {"mailto:alice", badUsername},
	} {
		t.Run(name, func(t *testing.T) { expect(t, username(tt.username), tt.want) })
	}
	for name, s := range unlikely {
		t.Run(name+" is refused", func(t *testing.T) { expect(t, username(s), badUsername) })
	}
	t.Run("every character of ASCII", func(t *testing.T) {
		checkCharacters(t, username, alphabet+"._@+-", badUsername)
	})
}

func TestSystem(t *testing.T) {
	t.Parallel()
	c := server(t)
	const bad = "the name of a system contains only lower-case letters, digits and -, and starts and ends with a letter or digit, for example orders"
	for name, tt := range map[string]struct{ system, want string }{
		"an ordinary one":  {"orders", ""},
		"one digit":        {"0", ""},
		"63 characters":    {strings.Repeat("a", 63), ""},
		"64 characters":    {strings.Repeat("a", 64), "spec.system: Too long: may not be more than 63"},
		"an empty one":     {"", "spec.system: Invalid value: \"\": "},
		"a capital":        {"Orders", bad},
		"a dot":            {"orders.eu", bad},
		"a hyphen at last": {"orders-", bad},
	} {
		t.Run(name, func(t *testing.T) { expect(t, attempt(t, c, fields{"system": tt.system}), tt.want) })
	}
}

// checkCharacters tries every character of ASCII, first and later in a name.
func checkCharacters(t *testing.T, try func(string) string, allowed, message string) {
	t.Helper()
	for r := range rune(128) {
		want := ""
		if !strings.ContainsRune(allowed, r) {
			want = message
		}
		if got := try("a" + string(r)); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q within a name: got the answer %q, want %q", r, got, want)
		}
		if !strings.ContainsRune(alphabet, r) {
			want = message
		}
		if got := try(string(r) + "a"); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q before a name: got the answer %q, want %q", r, got, want)
		}
	}
}

func TestAResourcesNameIsAUsername(t *testing.T) {
	t.Parallel()
	c := server(t)
	ns := namespace(t, c)
	for _, name := range []string{"0", "a.b-c.0", strings.Repeat("a", 253)} {
		if err := c.Create(t.Context(), manifest(ns, name, nil)); err != nil {
			t.Error(err)
			continue
		}
		// Whatever may be a name may be a username.
		expect(t, attempt(t, c, fields{"username": name}), "")
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	c := server(t)
	roles := func(list ...any) string { return attempt(t, c, fields{"roles": list}) }
	numbered := func(n int) []any {
		var list []any
		for i := range n {
			list = append(list, fmt.Sprintf("role-%d", i))
		}
		return list
	}
	for name, tt := range map[string]struct {
		roles []any
		want  string
	}{
		"none":                  {[]any{}, ""},
		"one":                   {[]any{"operator"}, ""},
		"64":                    {numbered(64), ""},
		"65":                    {numbered(65), "spec.roles: Too many: 65: must have at most 64 items"},
		"the same twice":        {[]any{"operator", "viewer", "operator"}, `spec.roles: Invalid value: role "operator" is listed twice; list each role once`},
		"two that differ by A":  {[]any{"Admin", "admin"}, ""},
		"one of 1 character":    {[]any{"a"}, ""},
		"one of 63 characters":  {[]any{strings.Repeat("a", 63)}, ""},
		"one of 64 characters":  {[]any{strings.Repeat("a", 64)}, "spec.roles[0]: Too long: may not be more than 63"},
		"one of no characters":  {[]any{"operator", ""}, "spec.roles[1]: Invalid value: \"\": " + badRole},
		"a bad one among good":  {[]any{"operator", "a b", "viewer"}, "spec.roles[1]: Invalid value: \"a b\": " + badRole},
		"a number":              {[]any{int64(7)}, "spec.roles[0] in body must be of type string"},
		"one with a name space": {[]any{"shard:read.only_1-2"}, ""},
	} {
		t.Run(name, func(t *testing.T) { expect(t, roles(tt.roles...), tt.want) })
	}
	for name, s := range unlikely {
		t.Run(name+" is refused", func(t *testing.T) { expect(t, roles(s), badRole) })
	}
	t.Run("every character of ASCII", func(t *testing.T) {
		checkCharacters(t, func(role string) string { return roles(role) }, alphabet+"._:-", badRole)
	})
	t.Run("a string instead of a list", func(t *testing.T) {
		expect(t, attempt(t, c, fields{"roles": "operator"}), "spec.roles in body must be of type array")
	})
}

func TestPassword(t *testing.T) {
	t.Parallel()
	c := server(t)
	ref := func(more fields) fields {
		return fields{"password": fields{"secretRef": with(fields{"name": "alice-password"}, more)}}
	}
	for name, tt := range map[string]struct {
		spec fields
		want string
	}{
		"a Secret":                          {ref(nil), ""},
		"a password from nowhere":           {fields{"password": fields{}}, "spec.password.secretRef: Required value"},
		"a format and no Secret":            {fields{"password": fields{"format": "Plain"}}, "spec.password.secretRef: Required value"},
		"a Secret without a name":           {fields{"password": fields{"secretRef": fields{}}}, "spec.password.secretRef.name: Required value"},
		"a key and no name":                 {fields{"password": fields{"secretRef": fields{"key": "k"}}}, "spec.password.secretRef.name: Required value"},
		"an empty name":                     {ref(fields{"name": ""}), badName},
		"a name of dots and dashes":         {ref(fields{"name": "a.b-c.0"}), ""},
		"a name of 253 characters":          {ref(fields{"name": strings.Repeat("a", 253)}), ""},
		"a name of 254 characters":          {ref(fields{"name": strings.Repeat("a", 254)}), "spec.password.secretRef.name: Too long: may not be more than 253"},
		"a name in capitals":                {ref(fields{"name": "Alice"}), "spec.password.secretRef.name: Invalid value: \"Alice\": " + badName},
		"a name with an underscore":         {ref(fields{"name": "a_b"}), badName},
		"a name that starts with a dash":    {ref(fields{"name": "-a"}), badName},
		"a name that ends with a dash":      {ref(fields{"name": "a-"}), badName},
		"a name that ends with a dot":       {ref(fields{"name": "a."}), badName},
		"a name with an empty label":        {ref(fields{"name": "a..b"}), badName},
		"a name with a path":                {ref(fields{"name": "other/secret"}), badName},
		"a name with a trailing newline":    {ref(fields{"name": "a\n"}), badName},
		"a key":                             {ref(fields{"key": "A-b_c.0"}), ""},
		"a key of 253 characters":           {ref(fields{"key": strings.Repeat("k", 253)}), ""},
		"a key of 254 characters":           {ref(fields{"key": strings.Repeat("k", 254)}), "spec.password.secretRef.key: Too long: may not be more than 253"},
		"an empty key":                      {ref(fields{"key": ""}), badKey},
		"a key with a slash":                {ref(fields{"key": "a/b"}), "spec.password.secretRef.key: Invalid value: \"a/b\": " + badKey},
		"a key with a trailing newline":     {ref(fields{"key": "a\n"}), badKey},
		"a password in clear, as some try":  {fields{"password": "hunter2"}, "spec.password in body must be of type object"},
		"a password that is explicitly nil": {fields{"password": nil}, ""},
	} {
		t.Run(name, func(t *testing.T) { expect(t, attempt(t, c, tt.spec), tt.want) })
	}
}

func TestGeneratedPassword(t *testing.T) {
	t.Parallel()
	c := server(t)
	const (
		plain = "a generated password has the format Plain; remove format or generate"
		keys  = "the Secret of a generated password has the keys username and password; remove key or generate"
		age   = "must be a duration from 1h to 87600h, in hours, minutes and seconds, for example 2160h"
	)
	password := func(more fields) fields {
		return fields{"password": with(fields{"secretRef": fields{"name": "alice-password"}}, more)}
	}
	length := func(n int64) fields { return password(fields{"generate": fields{"length": n}}) }
	for name, tt := range map[string]struct {
		spec fields
		want string
	}{
		"of the usual length":           {password(fields{"generate": fields{}}), ""},
		"16 characters":                 {length(16), ""},
		"72 characters":                 {length(72), ""},
		"15 characters":                 {length(15), "spec.password.generate.length: Invalid value: 15: spec.password.generate.length in body should be greater than or equal to 16"},
		"73 characters":                 {length(73), "should be less than or equal to 72"},
		"a length in words":             {password(fields{"generate": fields{"length": "long"}}), "spec.password.generate.length in body must be of type integer"},
		"true in place of a length":     {password(fields{"generate": true}), "spec.password.generate in body must be of type object"},
		"and plain":                     {password(fields{"generate": fields{}, "format": "Plain"}), ""},
		"and a hash":                    {password(fields{"generate": fields{}, "format": "Bcrypt"}), "spec.password.format: Invalid value: " + plain},
		"under its key":                 {fields{"password": fields{"secretRef": fields{"name": "a", "key": "password"}, "generate": fields{}}}, ""},
		"under another key":             {fields{"password": fields{"secretRef": fields{"name": "a", "key": "pw"}, "generate": fields{}}}, keys},
		"without the name of a Secret":  {fields{"password": fields{"generate": fields{}}}, "spec.password.secretRef: Required value"},
		"an age for it":                 {password(fields{"generate": fields{}, "maxAge": "2160h"}), ""},
		"an age for one that is given":  {password(fields{"maxAge": "1h"}), ""},
		"an age for a hash":             {password(fields{"maxAge": "24h30m", "format": "Bcrypt"}), ""},
		"an age of less than an hour":   {password(fields{"maxAge": "59m"}), age},
		"an age of more than ten years": {password(fields{"maxAge": "87601h"}), age},
		"an age in days":                {password(fields{"maxAge": "90d"}), age},
		"an age as a number":            {password(fields{"maxAge": int64(90)}), "spec.password.maxAge in body must be of type string"},
	} {
		t.Run(name, func(t *testing.T) { expect(t, attempt(t, c, tt.spec), tt.want) })
	}
}

func TestEnumsAndFlags(t *testing.T) {
	t.Parallel()
	c := server(t)
	format := func(value any) fields {
		return fields{"password": fields{"secretRef": fields{"name": "s"}, "format": value}}
	}
	const (
		formats    = `spec.password.format: Unsupported value: %q: supported values: "Plain", "Bcrypt"`
		adoptions  = `spec.adoptionPolicy: Unsupported value: %q: supported values: "Never", "IfUnowned"`
		deletions  = `spec.deletionPolicy: Unsupported value: %q: supported values: "Delete", "Deactivate", "Retain"`
		noBoolean  = "spec.active in body must be of type boolean"
		adoption   = "adoptionPolicy"
		deletion   = "deletionPolicy"
		everything = ""
	)
	for name, tt := range map[string]struct {
		spec fields
		want string
	}{
		"Plain":                        {format("Plain"), everything},
		"Bcrypt":                       {format("Bcrypt"), everything},
		"bcrypt in lower case":         {format("bcrypt"), fmt.Sprintf(formats, "bcrypt")},
		"no format":                    {format(""), fmt.Sprintf(formats, "")},
		"Never":                        {fields{adoption: "Never"}, everything},
		"IfUnowned":                    {fields{adoption: "IfUnowned"}, everything},
		"Always":                       {fields{adoption: "Always"}, fmt.Sprintf(adoptions, "Always")},
		"no adoption policy":           {fields{adoption: ""}, fmt.Sprintf(adoptions, "")},
		"Delete":                       {fields{deletion: "Delete"}, everything},
		"Deactivate":                   {fields{deletion: "Deactivate"}, everything},
		"Retain":                       {fields{deletion: "Retain"}, everything},
		"Orphan, as others have it":    {fields{deletion: "Orphan"}, fmt.Sprintf(deletions, "Orphan")},
		"no deletion policy":           {fields{deletion: ""}, fmt.Sprintf(deletions, "")},
		"active":                       {fields{"active": true}, everything},
		"inactive":                     {fields{"active": false}, everything},
		"active as a word":             {fields{"active": "true"}, noBoolean},
		"all that is wrong is told: 1": {fields{adoption: "x", deletion: "y"}, fmt.Sprintf(adoptions, "x")},
		"all that is wrong is told: 2": {fields{adoption: "x", deletion: "y"}, fmt.Sprintf(deletions, "y")},
	} {
		t.Run(name, func(t *testing.T) { expect(t, attempt(t, c, tt.spec), tt.want) })
	}
}

func TestFieldsThatNobodyKnowsAreRefused(t *testing.T) {
	t.Parallel()
	c := server(t)
	for field, spec := range map[string]fields{
		"spec.password.secretRef.namespace": {"password": fields{"secretRef": fields{"name": "s", "namespace": "other"}}},
		"spec.password.value":               {"password": fields{"secretRef": fields{"name": "s"}, "value": "hunter2"}},
		"spec.passwordHash":                 {"passwordHash": "x"},
		"spec.role":                         {"role": "admin"},
		"spec.Active":                       {"Active": false},
	} {
		t.Run(field, func(t *testing.T) {
			err := c.Create(t.Context(), manifest("default", "alice", spec), client.DryRunAll)
			want := fmt.Sprintf("unknown field %q", field)
			if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), want) {
				t.Errorf("got the error %v, want one that says %s", err, want)
			}
		})
	}
}
