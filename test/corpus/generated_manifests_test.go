// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"fmt"
	"strings"
	"testing"
)

const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// A field is a text in a manifest, and its rule as docs/api-reference.md has it.
type field struct {
	name    string
	says    string           // what a refusal says
	allowed string           // anywhere but at the edges
	first   string           // the first character
	last    string           // the last one
	longest int              // in characters
	in      func(string) any // a spec with this text
}

var userFields = []field{
	{
		name: "username", says: "a username starts with a letter or digit", longest: 255,
		allowed: alphanumeric + "._@+-", first: alphanumeric, last: alphanumeric + "._@+-",
		in: func(text string) any { return map[string]any{"username": text} },
	},
	{
		name: "role", says: "a role starts with a letter or digit", longest: 63,
		allowed: alphanumeric + "._:-", first: alphanumeric, last: alphanumeric + "._:-",
		in: func(text string) any { return map[string]any{"roles": []any{text}} },
	},
	{
		name: "name of a Secret", says: "the name of a Secret contains only lower-case letters", longest: 253,
		allowed: alphanumeric[26:] + "-.", first: alphanumeric[26:], last: alphanumeric[26:],
		in: func(text string) any { return passwordIn(map[string]any{"name": text}) },
	},
	{
		name: "key of a Secret", says: "a key of a Secret contains only letters", longest: 253,
		allowed: alphanumeric + "-._", first: alphanumeric + "-._", last: alphanumeric + "-._",
		in: func(text string) any { return passwordIn(map[string]any{"name": "s", "key": text}) },
	},
}

func passwordIn(secretRef map[string]any) map[string]any {
	return map[string]any{"password": map[string]any{"secretRef": secretRef}}
}

// glob is the text of a policy's patterns.
var glob = field{
	name: "pattern", says: "a pattern contains only letters", longest: 255,
	allowed: alphanumeric + "._:@+*?-", first: alphanumeric + "._:@+*?-", last: alphanumeric + "._:@+*?-",
	in: func(text string) any {
		return map[string]any{"namespaceSelector": map[string]any{}, "usernames": []any{text}}
	},
}

// strangers are non-ASCII characters of each kind that looks like an ASCII one, or is invisible.
var strangers = []rune{
	0x80, 0xa0, 0xad, 0xe4, 0x131, 0x17f, 0x391, 0x430, 0x5d0, 0x661, 0x115f, 0x1e9e, 0x200b, 0x200d, 0x200e, 0x2024, 0x202e, 0x2028,
	0x2060, 0x2212, 0x212a, 0x3000, 0xfe0f, 0xfeff, 0xff10, 0xff21, 0xff41, 0xfffd, 0xffff, 0x1d41a, 0x1f600, 0xe0061, 0x10ffff,
}

// forbidden returns texts with one forbidden character: at the beginning, within, and at the end. Under -short each
// character is at one of these places, in turn.
func (f field) forbidden() (texts []string) {
	var ascii []rune
	for r := range rune(0x80) {
		ascii = append(ascii, r)
	}
	for i, r := range append(ascii, strangers...) {
		places := []struct{ allowed, before, after string }{{f.first, "", "bc"}, {f.allowed, "ab", "cd"}, {f.last, "ab", ""}}
		if testing.Short() {
			places = places[i%len(places):][:1]
		}
		for _, place := range places {
			if !strings.ContainsRune(place.allowed, r) {
				texts = append(texts, place.before+string(r)+place.after)
			}
		}
	}
	return texts
}

func generatedManifests() (cases []manifest) {
	for _, f := range userFields {
		for _, text := range f.forbidden() {
			cases = append(cases, manifest{Name: fmt.Sprintf("the %s %+q", f.name, text), Spec: f.in(text), Refused: f.says})
		}
		cases = append(cases, manifest{Name: "the empty " + f.name, Spec: f.in(""), Refused: f.says})
		for _, over := range []int{1, 2, f.longest, 64 << 10} {
			cases = append(cases, manifest{
				Name: fmt.Sprintf("a %s that is %d characters too long", f.name, over),
				Spec: f.in(strings.Repeat("a", f.longest+over)), Refused: fmt.Sprintf("may not be more than %d", f.longest),
			})
		}
	}
	return append(append(cases, longest()...), wrongTypes()...)
}

// longest returns valid texts of the maximum and minimum length.
func longest() (cases []manifest) {
	for _, name := range []string{"Z", strings.Repeat("z", 254), strings.Repeat("z", 255)} {
		cases = append(cases, manifest{
			Name: fmt.Sprintf("a username of %d characters", len(name)), Spec: map[string]any{"username": name}, Username: name, Reason: "Synced",
		})
	}
	for _, length := range []int{1, 62, 63} {
		cases = append(cases, manifest{
			Name: fmt.Sprintf("a role of %d characters", length), Spec: map[string]any{"roles": []any{strings.Repeat("z", length)}}, Reason: "Synced",
		})
	}
	for _, length := range []int{1, 252, 253} {
		cases = append(cases,
			manifest{
				Name: fmt.Sprintf("the name of a Secret of %d characters", length),
				Spec: passwordIn(map[string]any{"name": strings.Repeat("z", length)}), Reason: "SecretNotFound",
			},
			manifest{
				Name: fmt.Sprintf("the key of a Secret of %d characters", length), Secret: map[string]string{"password": right},
				Spec: passwordIn(map[string]any{"name": "<<name>>", "key": strings.Repeat("z", length)}), Reason: "SecretKeyNotFound",
			})
	}
	return cases
}

// wrongTypes returns each field with a value of each wrong type. Each is rejected; no value is converted. (A null is
// different: it means an absent field.)
func wrongTypes() (cases []manifest) {
	values := map[string][]any{
		"string":  {"", "true", "1"},
		"boolean": {true, false},
		"integer": {0, 1, -1},
		"number":  {1.5, 1e300},
		"array":   {[]any{}, []any{[]any{}}},
		"object":  {map[string]any{}},
	}
	for _, f := range []struct {
		path, own string
		in        func(any) any
	}{
		{"spec", "object", func(v any) any { return v }},
		{"spec.username", "string", func(v any) any { return map[string]any{"username": v} }},
		{"spec.roles", "array", func(v any) any { return map[string]any{"roles": v} }},
		{"spec.roles[0]", "string", func(v any) any { return map[string]any{"roles": []any{v}} }},
		{"spec.active", "boolean", func(v any) any { return map[string]any{"active": v} }},
		{"spec.password", "object", func(v any) any { return map[string]any{"password": v} }},
		{"spec.password.secretRef", "object", func(v any) any { return map[string]any{"password": map[string]any{"secretRef": v}} }},
		{"spec.password.secretRef.name", "string", func(v any) any { return passwordIn(map[string]any{"name": v}) }},
		{"spec.password.secretRef.key", "string", func(v any) any { return passwordIn(map[string]any{"name": "s", "key": v}) }},
		{"spec.password.format", "string", func(v any) any {
			return map[string]any{"password": map[string]any{"secretRef": map[string]any{"name": "s"}, "format": v}}
		}},
		{"spec.adoptionPolicy", "string", func(v any) any { return map[string]any{"adoptionPolicy": v} }},
		{"spec.deletionPolicy", "string", func(v any) any { return map[string]any{"deletionPolicy": v} }},
	} {
		for kind, list := range values {
			if kind == f.own {
				continue
			}
			for i, v := range list {
				cases = append(cases, manifest{
					Name: fmt.Sprintf("%s as %s, %d", f.path, kind, i), Spec: f.in(v),
					Refused: fmt.Sprintf("%s in body must be of type %s", f.path, f.own),
				})
			}
		}
	}
	return cases
}

func generatedPolicies() (cases []policy) {
	for _, text := range glob.forbidden() {
		cases = append(cases, policy{Name: fmt.Sprintf("the pattern %+q", text), Spec: glob.in(text), Refused: glob.says})
	}
	for length, refused := range map[int]string{1: "", 254: "", 255: "", 256: "may not be more than 255", 64 << 10: "may not be more than 255"} {
		cases = append(cases, policy{
			Name: fmt.Sprintf("a pattern of %d characters", length), Spec: glob.in(strings.Repeat("*", length)), Refused: refused,
		})
	}
	return append(cases, terms()...)
}

// terms returns policies with figures at and beyond their limits.
func terms() (cases []policy) {
	policyWith := func(name string, more map[string]any, refused string) {
		spec := glob.in("*").(map[string]any)
		for key, value := range more {
			spec[key] = value
		}
		cases = append(cases, policy{Name: name, Spec: spec, Refused: refused})
	}
	for _, f := range []struct {
		path          string
		least, utmost int
		in            func(any) map[string]any
	}{
		{"spec.priority", 0, 1000000, func(v any) map[string]any { return map[string]any{"priority": v} }},
		{"spec.lockout.attempts", 1, 1000, func(v any) map[string]any { return map[string]any{"lockout": map[string]any{"attempts": v}} }},
		{"spec.password.minLength", 1, 72, func(v any) map[string]any { return map[string]any{"password": map[string]any{"minLength": v}} }},
	} {
		for _, n := range []int{f.least - 1<<31, f.least - 1, f.least, f.utmost, f.utmost + 1, 1 << 31, 1 << 40} {
			refused := f.path
			if f.least <= n && n <= f.utmost {
				refused = ""
			}
			policyWith(fmt.Sprintf("%s of %d", f.path, n), f.in(n), refused)
		}
		policyWith(f.path+" as a text", f.in("1"), f.path+" in body must be of type int")
		policyWith(f.path+" with a fraction", f.in(1.5), f.path+" in body must be of type int")
	}
	// Full hours, minutes and seconds, of at least a second.
	for duration, good := range map[string]bool{
		"1s": true, "15m": true, "1h30m": true, "8760h": true, "8759h59m60s": true, "0s": false, "8761h": false, "8760h1s": false, "": false,
		"15": false, "15 m": false, "m": false, "-1h": false, "+1h": false, "1.5h": false, "1ms": false, "1d": false, "1H": false, "1h ": false,
		"1h\n": false, "٣h": false, "1e3s": false, "0x1h": false, "9999999h": false, "99999999999999s": false, "1s\x00": false, "1µs": false,
	} {
		for _, name := range []string{"duration", "maxDuration"} {
			lockout := map[string]any{"duration": duration}
			if name == "maxDuration" {
				lockout = map[string]any{"duration": "1s", "maxDuration": duration}
			}
			refused := "spec.lockout"
			if good {
				refused = ""
			}
			policyWith(fmt.Sprintf("the %s %+q", name, duration), map[string]any{"lockout": lockout}, refused)
		}
	}
	return cases
}
