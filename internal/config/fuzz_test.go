// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"flag"
	"strings"
	"testing"
)

// A settings file gives settings or an error, and however a DSN got into it, no error quotes its password.
func FuzzReadFile(f *testing.F) {
	for _, around := range [][2]string{
		{"", ""},
		{"security: {user_database_dsn: '", "'}\noperator: {bcrypt-cost: 99}"},
		{`{"security": {"user_database_dsn": "`, `"}, "operator": {"x": 1}}`},
		{"operator: {bcrypt-cost: ", "}"},
		{"operator:\n  ", ": 1"},
		{"operator:\n  watch-namespaces: [a, '", "']"},
		{"operator: {jwt-secret-file: ", "}"},
		{"a: [\nuser_database_dsn: ", ""},
		{"security:\n- ", ""},
		{"security: {a: '", "', a: 1}\nsecurity: 1"},
		{"operator: 1\n---\n", ""},
		{`{"a": 1}`, ""},
		{"a: &a {\"", "\": 1}\noperator: {<<: *a, <<: *a}"},
		{"? ", "\n: &a [*a]"},
		{"operator: {metrics-bind-address: !!binary ", "}"},
		{"operator: {login-trusted-proxies: |\n  ", "\n }"},
	} {
		f.Add(around[0], around[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.Contains(before+after, canary) {
			return
		}
		s := defaults()
		l := newLoader(&s, flag.NewFlagSet("", flag.ContinueOnError))
		l.source, l.file = fromFile, defaultConfigFile
		err := l.readFile(strings.NewReader(before + goodDSN + after))
		l.collect()
		if err := errors.Join(append(l.problems, err)...); err != nil && strings.Contains(err.Error(), canary) {
			t.Fatalf("of %q it says: %v", before+goodDSN+after, err)
		}
		if cost := s.BcryptCost; cost < 10 || cost > 14 || s.Login.MaxConnections < 16 || s.Login.LockoutAttempts < 1 {
			t.Fatalf("%q sets %+v", before+goodDSN+after, s)
		}
	})
}
