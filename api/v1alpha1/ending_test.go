// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"testing"
)

func TestEndsAndLocksThatAreRefused(t *testing.T) {
	t.Parallel()
	c := server(t)
	ns := namespace(t, c)
	for name, spec := range map[string]fields{
		"a day":                        {"validUntil": "2027-01-31"},
		"a time without a zone":        {"validUntil": "2027-01-31T00:00:00"},
		"lower case, which Go refuses": {"validUntil": "2027-01-31t00:00:00z"},
		"a day that does not exist":    {"validUntil": "2027-02-31T00:00:00Z"},
		"a zone that does not exist":   {"validUntil": "2027-01-31T00:00:00+99:99"},
		"an end of a lock":             {"lock": fields{"until": "soon"}},
		"a reason of two lines":        {"lock": fields{"reason": "a\nb"}},
		"a reason with an escape":      {"lock": fields{"reason": "\x1b[31mred"}},
		"a reason that turns the text": {"lock": fields{"reason": "a\u202eb"}},
	} {
		if err := c.Create(t.Context(), manifest(ns, "refused", spec)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	created(t, c, manifest(ns, "accepted", fields{
		"validUntil": "2027-01-31T00:00:00.123456789+02:00", "lock": fields{"until": "2027-01-31T00:00:00Z", "reason": "Laptop gestohlen – 盗難 (#42)"},
	}))
}
