// SPDX-License-Identifier: Apache-2.0

package session

import "testing"

func TestASearchPathEndsWithPgTempWhateverTheDSNSays(t *testing.T) {
	for path, want := range map[string]string{
		"":                                 "pg_temp",
		"public":                           "public, pg_temp",
		"Public , ACCOUNTS":                "public, accounts, pg_temp",
		"pg_temp, public":                  "public, pg_temp",
		"public, pg_temp, other":           "public, other, pg_temp",
		"public, pg_catalog":               "public, pg_temp",
		"pg_temp_3,PG_CATALOG,\"PG_Temp\"": `"PG_Temp", pg_temp`,
		`"$user", public`:                  `"$user", public, pg_temp`,
		`$user,public`:                     `"$user", public, pg_temp`,
		`"a ""b"", c" , d`:                 `"a ""b"", c", d, pg_temp`,
		`"pg_temp"`:                        "pg_temp",
		`"open`:                            `"open`, // which the server refuses
		`a,,b`:                             `a,,b`,
		`a b`:                              `a b`,
	} {
		if got := safePath(path); got != want {
			t.Errorf("of %q came %q, want %q", path, got, want)
		}
	}
}
