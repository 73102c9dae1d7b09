// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/onsi/gomega"
)

func TestWrongSettingsStopTheManagerWithAnError(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret := canary + "-secret"
	dsn := "postgres://u:" + secret + "@127.0.0.1:1/db?sslmode=disable"
	for name, test := range map[string]struct {
		launch launch
		says   string
	}{
		"an unknown flag": {launch{args: []string{"--bcrypt-costs=10"}}, "bcrypt-cost"},
		"an argument":     {launch{args: []string{secret}}, "not a flag or the value of one"},
		"a weak cost":     {launch{args: []string{"--bcrypt-cost=9"}}, `bcrypt-cost.*10 to 14`},
		"a cost from the environment": {
			launch{env: []string{"SHARDINGUSER_BCRYPT_COST=15"}},
			`SHARDINGUSER_BCRYPT_COST.*10 to 14`,
		},
		"an invalid DSN": {
			launch{env: []string{"USER_DATABASE_DSN=mysql://u:" + secret + "@h/db"}},
			`USER_DATABASE_DSN.*postgres://`,
		},
		"a password without encoding": {
			launch{env: []string{"USER_DATABASE_DSN=postgres://u:" + secret + "/@:%@h/db"}},
			`USER_DATABASE_DSN.*percent-encoded|USER_DATABASE_DSN.*invalid Postgres DSN`,
		},
		"a missing DSN file": {
			launch{args: []string{"--user-database-dsn-file=" + folder + "/none"}},
			`cannot read the DSN file .*none: no such file`,
		},
		"an empty DSN file":          {launch{args: []string{"--user-database-dsn-file=" + file("empty", "\n")}}, "is empty"},
		"a DSN in place of a file":   {launch{args: []string{"--user-database-dsn-file=" + dsn}}, "set the path of a file"},
		"a listen DSN without a DSN": {launch{args: []string{"--listen-dsn-file=" + file("listen", dsn)}}, "no database is set"},
		"a login role without a controller role": {
			launch{args: []string{"--login-database-dsn-file=" + file("login", dsn)}},
			`login-database-dsn-file.*--user-database-dsn-file`,
		},
		"a login role without a login API": {
			launch{dsn: dsn, login: dsn, args: []string{"--login-bind-address=0"}},
			`login-database-dsn-file.*--login-bind-address is 0`,
		},
		"an invalid settings file": {
			launch{args: []string{"--config=" + file("broken.json", `{"security": {"user_database_dsn": "`+dsn)}},
			"neither JSON nor YAML",
		},
		"a settings file with a wrong value": {
			launch{args: []string{"--config=" + file("wrong.yaml", "operator: {bcrypt-cost: many}")}},
			"bcrypt-cost",
		},
		"two servers on one address": {
			launch{args: []string{"--metrics-bind-address=:9999", "--health-probe-bind-address=:9999"}},
			"same address",
		},
		"an invalid namespace": {launch{args: []string{"--watch-namespaces=Team_A"}}, "watch-namespaces.*namespaces"},
		"a missing cluster":    {launch{args: []string{"--kubeconfig=" + folder + "/none"}}, `(?s)cannot find a cluster|none`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := gomega.NewWithT(t)
			p := test.launch.begin(t)
			g.Expect(p.exit(15 * time.Second)).To(gomega.Equal(1))
			g.Expect(p.said()).To(gomega.MatchRegexp(test.says))
			g.Expect(p.said()).NotTo(gomega.ContainSubstring(secret))
		})
	}
}

func TestHelpListsEveryFlag(t *testing.T) {
	t.Parallel()
	g := gomega.NewWithT(t)
	p := launch{args: []string{"--help"}}.begin(t)
	g.Expect(p.exit(15 * time.Second)).To(gomega.BeZero())
	for _, flag := range []string{
		"config", "user-database-dsn-file", "listen-dsn-file", "metrics-bind-address", "health-probe-bind-address",
		"leader-elect", "watch-namespaces", "bcrypt-cost", "kubeconfig", "zap-devel",
	} {
		g.Expect(p.said()).To(gomega.ContainSubstring("--" + flag))
	}
}

func TestDSNIsMaskedWhereItIsPrinted(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	p := s.start()
	s.Expect(p.said()).To(gomega.ContainSubstring(s.role), "the DSN is printed")
	// Every story checks at its end that the password is not printed.
}
