// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"flag"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Whatever text is given for a DSN: what the driver takes for its password, and was written down just once, is not in the
// masked one; masking it again changes nothing that is shown; and errors hold nothing of it.
func FuzzDSN(f *testing.F) {
	for _, dsn := range []string{
		goodDSN, "host=db user=alice password=" + canary, "password='" + canary + `\'' host=db`, "postgres://alice:" + canary + "/x@db",
		"postgres://db?password=" + canary + "&host=x", "host=" + canary + " port=x", canary, "postgresql:///?password=" + canary,
		"password =\t" + canary + " sslmode=disable", "postgres://a:b@c@d/" + canary, "user=" + canary + " password=" + canary,
		"host=db keepalives=1 schema=" + canary + " password=" + canary, "postgres://a:" + canary + "@db?keepalives_idle=30&pgbouncer=true&" + canary + "=1",
	} {
		f.Add(dsn)
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		masked := Mask(dsn)
		if err := checkDSN(strings.TrimSpace(dsn)); err != nil {
			if strings.Contains(dsn, canary) && strings.Contains(err.Error(), canary) {
				t.Fatalf("checkDSN(%q) = %v", dsn, err)
			}
			return
		}
		config, err := pgxpool.ParseConfig(strings.TrimSpace(dsn))
		if err != nil {
			t.Fatalf("checkDSN lets %q pass: %v", dsn, err)
		}
		password := config.ConnConfig.Password
		// What is short, or stands there twice, may be shown as something else; what is in our own words says nothing.
		if len(password) < 4 || strings.Count(dsn, password) != 1 || strings.Contains(unreadable+"password=", password) {
			return
		}
		if strings.Contains(masked, password) {
			t.Fatalf("Mask(%q) = %q, whose password is %q", dsn, masked, password)
		}
	})
}

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
		s := defaults(2)
		defined := flag.NewFlagSet("manager", flag.ContinueOnError)
		s.bind(defined)
		l := newLoader(defined)
		l.source, l.file = fromFile, defaultConfigFile
		err := l.readFile(strings.NewReader(before+goodDSN+after), l.flags.Set)
		l.collect()
		if err := errors.Join(append(l.problems, err)...); err != nil && strings.Contains(err.Error(), canary) {
			t.Fatalf("of %q it says: %v", before+goodDSN+after, err)
		}
		if cost := s.BcryptCost; cost < 10 || cost > 14 || s.Login.MaxConnections < 16 || s.Login.LockoutAttempts < 1 {
			t.Fatalf("%q sets %+v", before+goodDSN+after, s)
		}
	})
}
