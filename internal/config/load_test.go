// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"flag"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/sharding-system/shardinguser-operator/internal/dsn"
)

const canary = "cAnAry7"

const goodDSN = "postgres://alice:" + canary + "@db:5432/users?sslmode=disable"

// A world is what Load finds around it: files by name, in the working
// directory, and environment variables.
type world struct {
	files map[string]string
	env   map[string]string
	args  []string
}

// load runs Load in w, with nothing of the developer's own environment.
func (w world) load(t *testing.T) (Settings, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, envPrefix) || strings.HasPrefix(name, "PG") || name == dsn.Variable {
			t.Setenv(name, "")
		}
	}
	for name, text := range w.files {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range w.env {
		t.Setenv(name, value)
	}
	return Load(w.args, io.Discard, func(fs *flag.FlagSet) { fs.Bool("zap-devel", false, "readable logs") })
}

func TestDefaults(t *testing.T) {
	got, err := world{}.load(t)
	if err != nil {
		t.Fatal(err)
	}
	want := Settings{
		Database: Database{
			MaxConnections: 25, LoginMaxConnections: 10, IdleConnections: 5,
			ConnectionLifetime: 5 * time.Minute, ConnectionIdleTime: time.Minute, Timeout: 5 * time.Second,
		},
		Login: Login{
			BindAddress: ":8082", LockoutAttempts: 5, LockoutDuration: 15 * time.Minute,
			SourceRate: Auto, SourceBurst: 200, MaxConnections: 2048, VerifyCacheTTL: time.Minute, AuditRetention: 90 * 24 * time.Hour, AuditMaxSize: 2 << 30,
			AccountCacheSize: 150_000, Fallback: true,
			TokenLifetime: 24 * time.Hour, TokenIssuer: "shardinguser-operator", TokenAudience: "sharding",
		},
		DefaultUsers: DefaultUsers{Passwords: "off"},
		Namespace:    "default",
		BcryptCost:   10, PasswordMinLength: 8, DigestKeySecret: "shardinguser-digest-key", HashCores: runtime.GOMAXPROCS(0),
		MetricsBindAddress: ":8443", HealthProbeBindAddress: ":8081", PprofBindAddress: "0",
		MaxConcurrentReconciles: 32, KubeAPIBurst: 400, Policies: true, ProtectedRoles: []string{"admin"}, Orphans: OrphansReport,
		ResyncInterval: 30 * time.Second, PollInterval: 2 * time.Second, GracefulShutdownTimeout: 20 * time.Second, ShutdownDelay: 5 * time.Second,
		Notifications: true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Load = %+v\nwant   %+v", got, want)
	}
	if got.Database.Configured() {
		t.Error("a database is configured by default")
	}
}

func TestPrecedence(t *testing.T) {
	const file = "operator: {bcrypt-cost: 11}"
	for name, tt := range map[string]struct {
		world
		want int
	}{
		"the default file counts where it exists":   {world{files: map[string]string{defaultConfigFile: file}}, 11},
		"the environment wins over the file":        {world{files: map[string]string{defaultConfigFile: file}, env: map[string]string{"SHARDINGUSER_BCRYPT_COST": "12"}}, 12},
		"a flag wins over both":                     {world{files: map[string]string{defaultConfigFile: file}, env: map[string]string{"SHARDINGUSER_BCRYPT_COST": "12"}, args: []string{"--bcrypt-cost=13"}}, 13},
		"a flag at its default value still wins":    {world{files: map[string]string{defaultConfigFile: file}, args: []string{"--bcrypt-cost=10"}}, 10},
		"the last of two equal flags counts":        {world{args: []string{"--bcrypt-cost=9", "--bcrypt-cost", "14"}}, 14},
		"a wrong value that is overridden is none":  {world{env: map[string]string{"SHARDINGUSER_BCRYPT_COST": "99"}, args: []string{"-bcrypt-cost=13"}}, 13},
		"an empty variable counts as not set":       {world{files: map[string]string{defaultConfigFile: file}, env: map[string]string{"SHARDINGUSER_BCRYPT_COST": ""}}, 11},
		"the file may be named by the environment":  {world{files: map[string]string{"a.yaml": file}, env: map[string]string{"SHARDINGUSER_CONFIG": "a.yaml"}}, 11},
		"a named file replaces the default one":     {world{files: map[string]string{"a.yaml": file, defaultConfigFile: "operator: {bcrypt-cost: 14}"}, args: []string{"--config=a.yaml"}}, 11},
		"an empty name stands for no file":          {world{files: map[string]string{defaultConfigFile: file}, args: []string{"--config="}}, 10},
		"a file of the sharding manager's is taken": {world{files: map[string]string{defaultConfigFile: "{\n\t\"server\": {\"port\": 8080},\n\t\"security\": {\"jwt\": 1},\n\t\"operator\": {\"bcrypt-cost\": 11}}"}}, 11},
		"one dash is enough":                        {world{args: []string{"-leader-elect", "-bcrypt-cost", "12", "-config="}}, 12},
		"a value may begin with a dash":             {world{files: map[string]string{"-a.yaml": file}, args: []string{"--config", "-a.yaml"}}, 11},
		"an empty file is taken":                    {world{files: map[string]string{defaultConfigFile: "# nothing yet\n"}}, 10},
		"empty sections are taken":                  {world{files: map[string]string{defaultConfigFile: "operator:\nsecurity:\n"}}, 10},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tt.load(t)
			if err != nil || got.BcryptCost != tt.want {
				t.Errorf("BcryptCost = %d, %v, want %d", got.BcryptCost, err, tt.want)
			}
		})
	}
}

func TestEveryKindOfSettingFromTheFile(t *testing.T) {
	got, err := world{files: map[string]string{defaultConfigFile: `
operator:
  leader-elect: true
  watch-namespaces: [team-b, team-a, team-b]
  metrics-bind-address: 0
  health-probe-bind-address: 127.0.0.1:9000
  kube-api-qps: 12.5
  database-timeout: 1m30s
  leader-election-namespace: system
  system: orders
  database-max-connections: 3
  login-trusted-proxies: [10.1.2.3/8, "fd00::1", 10.0.0.0/8]
  lockout-attempts: 3
  login-max-connections: 64
  verify-cache-ttl: 0s
  fallback: off
  notifications: off
  default-users: generated
  default-users-namespace: team-b
  default-users-take-over: on
  zap-devel: true
  audit-max-size: 512MiB
`}}.load(t)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.ConfigFile = defaultConfigFile
	want.LeaderElect = true
	want.System = "orders"
	want.WatchNamespaces = []string{"team-a", "team-b"}
	want.MetricsBindAddress = "0"
	want.HealthProbeBindAddress = "127.0.0.1:9000"
	want.KubeAPIQPS = 12.5
	want.Database.Timeout = 90 * time.Second
	want.LeaderElectionNamespace, want.Namespace = "system", "system"
	want.Database.MaxConnections = 3
	want.Database.IdleConnections = 3 // the default of 5 follows
	want.Login.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::1/128")}
	want.Login.LockoutAttempts = 3
	want.Login.MaxConnections = 64
	want.Login.VerifyCacheTTL = 0
	want.Login.AuditMaxSize = 512 << 20
	want.Login.Fallback = false
	want.Notifications = false
	want.DefaultUsers = DefaultUsers{Passwords: "generated", Namespace: "team-b", TakeOver: true}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Load = %+v\nwant   %+v", got, want)
	}
}

func TestWhereTheDSNComesFrom(t *testing.T) {
	with := func(host string) string { return "host=" + host + " password=" + canary }
	file := "security: {user_database_dsn: '" + with("file") + "'}"
	all := world{
		files: map[string]string{defaultConfigFile: file, "dsn": with("mounted") + "\n"},
		env:   map[string]string{dsn.Variable: with("env")},
		args:  []string{"--user-database-dsn-file=dsn"},
	}
	for name, tt := range map[string]struct {
		world
		want, file string
	}{
		"nowhere":                                {world{}, "", ""},
		"the settings file":                      {world{files: all.files}, with("file"), ""},
		"the environment before the file":        {world{files: all.files, env: all.env}, with("env"), ""},
		"a mounted file before all others":       {all, with("mounted"), "dsn"},
		"a mounted file that the settings name":  {world{files: map[string]string{defaultConfigFile: "operator: {user-database-dsn-file: dsn}", "dsn": with("mounted")}, env: all.env}, with("mounted"), "dsn"},
		"white space in the environment is none": {world{files: all.files, env: map[string]string{dsn.Variable: " \n"}}, with("file"), ""},
		"white space in the file is none":        {world{files: map[string]string{defaultConfigFile: "security: {user_database_dsn: ' '}"}}, "", ""},
		"null in the file is none":               {world{files: map[string]string{defaultConfigFile: "security: {user_database_dsn: }"}}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tt.load(t)
			if err != nil {
				t.Fatal(err)
			}
			if string(got.Database.DSN) != tt.want || got.Database.DSNFile != tt.file {
				t.Errorf("DSN = %s of %q, want %s of %q", string(got.Database.DSN), got.Database.DSNFile, tt.want, tt.file)
			}
			if got.Database.Configured() != (tt.want != "") {
				t.Errorf("Configured = %v", got.Database.Configured())
			}
		})
	}
}

func TestEachSpellingOfHelp(t *testing.T) {
	for _, args := range [][]string{{"-h"}, {"--h"}, {"-help"}, {"-h=true"}, {"--help=true"}, {"--bcrypt-cost", "12", "-h"}, {"--leader-elect", "--help"}} {
		if _, err := (world{args: args}).load(t); !errors.Is(err, pflag.ErrHelp) {
			t.Errorf("%q: Load = %v, want %v", args, err, pflag.ErrHelp)
		}
	}
}

func TestHelp(t *testing.T) {
	var b strings.Builder
	t.Setenv(dsn.Variable, "not looked at")
	_, err := Load([]string{"--help"}, &b, nil)
	if !errors.Is(err, pflag.ErrHelp) {
		t.Errorf("Load = %v, want %v", err, pflag.ErrHelp)
	}
	for _, says := range []string{"--bcrypt-cost cost\n", "(default 10)", "--leader-elect\n", "SHARDINGUSER_BCRYPT_COST", "USER_DATABASE_DSN"} {
		if !strings.Contains(b.String(), says) {
			t.Errorf("the help does not say %q:\n%s", says, b.String())
		}
	}
}

func TestTheSourceRateIsAutoOrANumber(t *testing.T) {
	for given, want := range map[string]int{"auto": Auto, " auto ": Auto, "0": 0, "20": 20} {
		got, err := world{args: []string{"--login-source-rate=" + given}}.load(t)
		if err != nil || got.Login.SourceRate != want {
			t.Errorf("%q is %d, %v, want %d", given, got.Login.SourceRate, err, want)
		}
	}
	for _, given := range []string{"-1", "automatic", "", "100001", "1.5"} {
		_, err := world{args: []string{"--login-source-rate=" + given}}.load(t)
		if err == nil || !strings.Contains(err.Error(), "auto, or a whole number from 0 to 100000") {
			t.Errorf("%q is refused with %v", given, err)
		}
	}
}
