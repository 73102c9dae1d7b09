// SPDX-License-Identifier: Apache-2.0

package config

import (
	"runtime"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// A Setting is one line of the table of settings.
type Setting struct {
	// Name is that of the flag and of the key in the settings file.
	Name string
	// Value stores what was given, and knows its form and limits.
	Value pflag.Value
	// Default is what holds without a value, as it is written on the command line.
	Default string
	// Absent says what holds without a value, where Default is empty.
	Absent string
	// Unit stands for the value in the help.
	Unit string
	// Help says what the setting does, in Markdown for docs/configuration.md. The help prints it as plain text.
	Help string
	// Chart is the path of the chart's value that becomes this setting as it is. It is empty where there is none, or where the
	// chart's templates do more than that.
	Chart string
}

// Variable returns the environment variable of the setting.
func (s Setting) Variable() string { return variable(s.Name) }

// variable returns the environment variable of a flag.
func variable(flag string) string {
	return envPrefix + "_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// A Section is a part of the table.
type Section struct {
	Title    string
	Settings []Setting
}

// Table returns the table of settings: all that this package reads, the DSN of the database aside. The flags, the environment
// variables, the keys of the settings file, the page docs/configuration.md and parts of the chart are made from it.
func Table() []Section { return table(new(Settings)) }

// table returns the table of settings, whose values are stored in s.
func table(s *Settings) []Section {
	return []Section{
		{"Database", append([]Setting{
			{
				Name: flagConfig, Value: path{&s.ConfigFile}, Absent: "`" + defaultConfigFile + "` if it exists", Unit: "file",
				Help: "the settings file, JSON or YAML; empty for none",
			},
		}, s.Database.table()...)},
		{"Row changes", s.changes()},
		{"Reconciling", append(s.reconciling(), s.DefaultUsers.table()...)},
		{"Passwords", s.passwords()},
		{"Logins", append(s.Login.table(), s.Login.outage()...)},
		{"Servers and diagnosis", s.serving()},
	}
}

// defaults returns the settings without any value given.
func defaults() Settings {
	s := Settings{HashCores: runtime.GOMAXPROCS(0)}
	for _, section := range table(&s) {
		for _, setting := range section.Settings {
			if setting.Default == "" {
				continue
			}
			if err := setting.Value.Set(setting.Default); err != nil {
				panic("the default of --" + setting.Name + " is not " + err.Error()) // a mistake in the table
			}
		}
	}
	return s
}

func (d *Database) table() []Setting {
	return []Setting{
		{
			Name: flagDSNFile, Value: path{&d.DSNFile}, Unit: "file",
			Help: "file with the DSN, read again for each new connection",
		},
		{
			Name: flagListenDSNFile, Value: path{&d.ListenDSNFile}, Unit: "file",
			Help: "file with the DSN of a direct connection for notifications, if the other DSN leads through [PgBouncer](database.md#pgbouncer)",
		},
		{
			Name: flagLoginDSNFile, Value: path{&d.LoginDSNFile}, Absent: "the controller's role", Unit: "file",
			Help: "file with the DSN of a [separate database role](database.md#two-database-roles) for logins, with its own connection pool",
		},
		{
			Name: flagMaxConnections, Value: number{&d.MaxConnections, 1, 1000}, Default: "25", Unit: "number",
			Help: "maximum number of connections to the database",
		},
		{
			Name: flagLoginMaxConnections, Value: number{&d.LoginMaxConnections, 1, 1000}, Default: "10", Unit: "number",
			Help: "maximum number of connections in the login pool, if `--" + flagLoginDSNFile + "` is set",
		},
		{
			Name: flagIdleConnections, Value: number{&d.IdleConnections, 0, 1000}, Default: "5", Unit: "number",
			Help: "maximum number of idle connections, at most `--" + flagMaxConnections + "`",
		},
		{
			Name: "database-connection-lifetime", Value: duration{&d.ConnectionLifetime, time.Second}, Default: "5m", Unit: "time",
			Help: "time after which a connection is replaced",
		},
		{
			Name: "database-connection-idle-time", Value: duration{&d.ConnectionIdleTime, time.Second}, Default: "1m", Unit: "time",
			Help: "time after which an idle connection is closed",
		},
		{
			Name: "database-timeout", Value: duration{&d.Timeout, 100 * time.Millisecond}, Default: "5s", Unit: "time",
			Help: "time limit of a statement, including the wait for a connection",
		},
	}
}

func (s *Settings) changes() []Setting {
	return []Setting{
		{
			Name: "notifications", Value: onOff{&s.Notifications}, Default: "on", Unit: "on|off", Chart: "notifications.enabled",
			Help: "report changes by a trigger on the table `users`. `off` drops the trigger and " +
				"[polls](database.md#without-the-trigger), for two-phase commits and logical replicas",
		},
		{
			Name: "resync-interval", Value: duration{&s.ResyncInterval, time.Second}, Default: "30s", Unit: "time",
			Help: "time between full reads of the table, for missed notifications and for counters",
		},
		{
			Name: "poll-interval", Value: duration{&s.PollInterval, 100 * time.Millisecond}, Default: "2s", Unit: "time",
			Help: "time between full reads of the table while notifications are unavailable",
		},
	}
}

func (s *Settings) reconciling() []Setting {
	return []Setting{
		{
			Name: "system", Value: system{&s.System}, Absent: "the default system", Unit: "name", Chart: "system",
			Help: "the [sharding system](systems.md) that the manager serves, such as orders: it watches, reconciles and reports on " +
				"ShardingUsers with this `spec.system` only, and without it on those that have none",
		},
		{
			Name: flagWatchNamespaces, Value: names{&s.WatchNamespaces, namespaceName, "names of namespaces, such as team-a,team-b"},
			Absent: "all", Unit: "namespaces", Chart: "watchNamespaces",
			Help: "comma-separated namespaces to watch",
		},
		{
			Name: "policies", Value: onOff{&s.Policies}, Default: "on", Unit: "on|off",
			Help: "enforce [ShardingUserPolicies](tenancy.md); set `off` if the manager has only Roles in single namespaces",
		},
		{
			Name: "protected-roles", Value: names{&s.ProtectedRoles, roleName, "roles, such as admin,security"},
			Default: "admin", Unit: "roles", Chart: "protectedRoles",
			Help: "comma-separated roles that the [last active user with the role](tenancy.md#the-last-administrator) keeps; empty for none",
		},
		{
			Name: "orphans", Value: choice{&s.Orphans, []string{OrphansReport, OrphansDeactivate}}, Default: OrphansReport, Unit: "action",
			Chart: "orphans",
			Help: "action for [accounts whose ShardingUser does not exist](database.md#orphaned-accounts), for example after a database " +
				"restore: `report`, or `deactivate` after a minute",
		},
		{
			Name: "leader-elect", Value: boolean{&s.LeaderElect}, Default: "false",
			Help: "reconcile only while holding the lease, which allows several replicas; the manifests and the chart set it",
		},
		{
			Name: "leader-election-namespace", Value: namespace{&s.LeaderElectionNamespace}, Absent: "the pod's own", Unit: "namespace",
			Help: "namespace of the lease",
		},
		{
			Name: "max-concurrent-reconciles", Value: number{&s.MaxConcurrentReconciles, 1, 1000}, Default: "32", Unit: "number",
			Help: "number of resources reconciled at once",
		},
		{
			Name: "kube-api-qps", Value: rate{&s.KubeAPIQPS}, Default: "0", Unit: "number",
			Help: "maximum number of requests per second to the API server; 0 for no limit other than the API server's own fairness",
		},
		{
			Name: "kube-api-burst", Value: number{&s.KubeAPIBurst, 1, 100000}, Default: "400", Unit: "number",
			Help: "maximum number of requests to the API server in a burst, if `--kube-api-qps` limits them",
		},
	}
}

func (d *DefaultUsers) table() []Setting {
	passwords := []string{DefaultUsersOff, DefaultUsersGenerated, DefaultUsersSharding}
	return []Setting{
		{
			Name: flagDefaultUsers, Value: choice{&d.Passwords, passwords}, Default: DefaultUsersOff, Unit: "passwords",
			Help: "passwords of [the users admin, operator and viewer](operations.md#the-first-users) that an empty system starts with: " +
				"`off` (no such users), `generated`, or `sharding` (the well-known ones of the sharding system)",
		},
		{
			Name: flagDefaultUsersNamespace, Value: namespace{&d.Namespace}, Absent: "the manager's own", Unit: "namespace",
			Help: "namespace of the default users",
		},
		{
			Name: flagDefaultUsersTakeOver, Value: onOff{&d.TakeOver}, Default: "off", Unit: "on|off",
			Help: "the default users, with generated passwords, adopt [the sharding manager's rows]" +
				"(operations.md#the-sharding-managers-default-accounts) of admin, operator and viewer, if the table contains nothing else and " +
				"no operator used it before",
		},
	}
}

func (s *Settings) passwords() []Setting {
	return []Setting{
		{
			Name: "bcrypt-cost", Value: number{&s.BcryptCost, 10, 14}, Default: "10", Unit: "cost",
			Help: "bcrypt cost of password hashes, 10 to 14; each step doubles the time of a hash",
		},
		{
			Name: flagPasswordMinLength, Value: number{&s.PasswordMinLength, 1, 72}, Default: "8", Unit: "number",
			Help: "minimum number of characters of a password",
		},
		{
			Name: "digest-key-secret", Value: secretName{&s.DigestKeySecret}, Default: "shardinguser-digest-key", Unit: "name",
			Help: "Secret in the manager's namespace with the key of [password digests](security.md#password-digests); the manager writes a key into " +
				"an empty Secret. Empty for no digests",
		},
		{
			Name: "hash-cores", Value: number{&s.HashCores, 1, 1024}, Absent: "all", Unit: "number",
			Help: "number of cores that hash passwords",
		},
	}
}

func (l *Login) table() []Setting {
	return []Setting{
		{
			Name: flagLoginAddress, Value: address{&l.BindAddress}, Default: ":8082", Unit: "address",
			Help: "address of the [login API](login.md), served over HTTPS by every replica; `0` disables it",
		},
		{
			Name: flagLoginCertDir, Value: path{&l.TLSCertDir}, Absent: "a self-signed certificate", Unit: "folder",
			Help: "folder with the login API's `tls.crt` and `tls.key`, reloaded when they change",
		},
		{
			Name: flagJWTSecretFile, Value: path{&l.JWTSecretFile}, Absent: "no tokens", Unit: "file",
			Help: "file with the signing secret of [tokens](tokens.md), at least 32 bytes, reloaded when it changes. Tokens of a replaced " +
				"secret are invalid at once",
		},
		{
			Name: flagJWTPreviousSecretFile, Value: path{&l.JWTPreviousSecretFile}, Absent: "none", Unit: "file",
			Help: "file with the previous signing secret or key, which is still accepted during a " +
				"[rotation](tokens.md#replace-the-signing-secret); never a leaked one",
		},
		{
			Name: flagJWTPreviousSecretUntil, Value: moment{&l.JWTPreviousSecretUntil}, Absent: "`--token-lifetime` after the process read it", Unit: "time",
			Help: "time in RFC 3339 when the previous signing secret or key expires",
		},
		{
			Name: flagJWTSigningKeyFile, Value: path{&l.JWTSigningKeyFile}, Absent: "none", Unit: "file",
			Help: "PEM file with a private key (Ed25519, ECDSA P-256, or RSA of at least 2048 bits) that [signs tokens](tokens.md#signing-keys) " +
				"in place of the secret, reloaded when it changes",
		},
		{
			Name: "token-lifetime", Value: duration{&l.TokenLifetime, time.Minute}, Default: "24h", Unit: "time", Chart: "login.jwt.lifetime",
			Help: "time until a [token](tokens.md) expires; a shorter one also ends existing tokens",
		},
		{
			Name: "token-issuer", Value: claim{&l.TokenIssuer}, Default: "shardinguser-operator", Unit: "text", Chart: "login.jwt.issuer",
			Help: "claim `iss` of tokens that a signing key signs",
		},
		{
			Name: "token-audience", Value: claim{&l.TokenAudience}, Default: "sharding", Unit: "text", Chart: "login.jwt.audience",
			Help: "claim `aud` of tokens that a signing key signs",
		},
		{
			Name: "lockout-attempts", Value: number{&l.LockoutAttempts, 1, 1000}, Default: "5", Unit: "number", Chart: "lockout.attempts",
			Help: "number of failed logins that [lock an account](lockouts.md)",
		},
		{
			Name: "lockout-duration", Value: duration{&l.LockoutDuration, time.Second}, Default: "15m", Unit: "time", Chart: "lockout.duration",
			Help: "time that an account stays locked",
		},
		{
			Name: "login-max-connections", Value: number{&l.MaxConnections, 16, 1_000_000}, Default: "2048", Unit: "number",
			Help: "maximum number of connections to the login API, half of it for one address; at the limit, the longest-waiting " +
				"connection of the busiest address is closed",
		},
		{
			Name: "login-source-rate", Value: numberOrAuto{number{&l.SourceRate, 0, 100000}}, Default: auto, Unit: "number",
			Help: "maximum number of logins per second from one address. `auto` is half the hashing capacity of `--hash-cores`: 22 on two " +
				"cores at cost 10. `0` is no limit",
		},
		{
			Name: "login-source-burst", Value: number{&l.SourceBurst, 1, 100000}, Default: "200", Unit: "number",
			Help: "maximum number of logins from one address in a burst",
		},
		{
			Name: "login-trusted-proxies", Value: networks{&l.TrustedProxies}, Absent: "none", Unit: "networks", Chart: "login.trustedProxies",
			Help: "comma-separated networks of proxies whose `X-Forwarded-For` is trusted. Set it behind a [gateway](gateways.md): otherwise " +
				"all its clients count as one address",
		},
		{
			Name: "verify-cache-ttl", Value: duration{&l.VerifyCacheTTL, 0}, Default: "1m", Unit: "time",
			Help: "time that `verify` accepts verified credentials without bcrypt; `0` for never",
		},
		{
			Name: "audit-retention", Value: duration{&l.AuditRetention, time.Minute}, Default: "2160h", Unit: "time",
			Help: "time that login attempts and changes stay in the record",
		},
		{
			Name: "audit-max-size", Value: size{&l.AuditMaxSize}, Default: "2GiB", Unit: "size",
			Help: "approximate maximum size of the record of login attempts and changes. Above it, " +
				"[attempts on unknown usernames](audit.md#size) are deleted first, changes last; `0` for no limit",
		},
	}
}

// outage is the settings of logins without the database.
func (l *Login) outage() []Setting {
	return []Setting{
		{
			Name: "account-cache-size", Value: number{&l.AccountCacheSize, 1, 10_000_000}, Default: "150000", Unit: "number",
			Help: "maximum number of accounts in each replica's account cache, which serves lookups and the fallback",
		},
		{
			Name: "fallback", Value: onOff{&l.Fallback}, Default: "on", Unit: "on|off", Chart: "login.fallback.enabled",
			Help: "decide logins from the account cache [while the database is unavailable](login.md#while-the-database-is-unavailable)",
		},
		{
			Name: "fallback-attempts", Value: number{&l.FallbackAttempts, 0, 1000}, Default: "0", Unit: "number",
			Help: "number of failed logins per replica that lock an account while the database is unavailable; `0` for " +
				"`--lockout-attempts`. The chart computes it from the number of replicas",
		},
	}
}

func (s *Settings) serving() []Setting {
	return []Setting{
		{
			Name: flagMetricsAddress, Value: address{&s.MetricsBindAddress}, Default: ":8443", Unit: "address",
			Help: "address of the metrics, served over HTTPS to clients that the API server authorizes; `0` disables them",
		},
		{
			Name: flagMetricsCertDir, Value: path{&s.MetricsCertDir}, Absent: "a self-signed certificate", Unit: "folder",
			Help: "folder with the metrics' `tls.crt` and `tls.key`",
		},
		{
			Name: flagHealthAddress, Value: address{&s.HealthProbeBindAddress}, Default: ":8081", Unit: "address",
			Help: "address of `/healthz` and `/readyz`; `0` disables them",
		},
		{
			Name: flagPprofAddress, Value: address{&s.PprofBindAddress}, Default: off, Unit: "address",
			Help: "address of Go's profiles, without authentication, such as `127.0.0.1:6060`; `0` disables them",
		},
		{
			Name: "tracing", Value: onOff{&s.Tracing}, Default: "off", Unit: "on|off", Chart: "tracing.enabled",
			Help: "send [traces](operations.md#inspect) of reconciles and logins by OTLP over HTTP to `OTEL_EXPORTER_OTLP_ENDPOINT`; the " +
				"other OpenTelemetry variables apply too",
		},
		{
			Name: flagShutdownTimeout, Value: duration{&s.GracefulShutdownTimeout, 0}, Default: "20s", Unit: "time",
			Help: "time that running work has to finish after SIGTERM",
		},
		{
			Name: flagShutdownDelay, Value: duration{&s.ShutdownDelay, 0}, Default: "5s", Unit: "time",
			Help: "time after SIGTERM in which the login API still accepts connections, so that " +
				"[a rollout refuses no login](high-availability.md#a-replica-that-stops); less than `--graceful-shutdown-timeout`",
		},
	}
}

// The flags that are named elsewhere too.
const (
	flagConfig                 = "config"
	flagWatchNamespaces        = "watch-namespaces"
	flagPasswordMinLength      = "password-min-length"
	flagDefaultUsers           = "default-users"
	flagDefaultUsersNamespace  = "default-users-namespace"
	flagDefaultUsersTakeOver   = "default-users-take-over"
	flagMetricsAddress         = "metrics-bind-address"
	flagMetricsCertDir         = "metrics-cert-dir"
	flagShutdownTimeout        = "graceful-shutdown-timeout"
	flagShutdownDelay          = "shutdown-delay"
	flagHealthAddress          = "health-probe-bind-address"
	flagPprofAddress           = "pprof-bind-address"
	flagLoginAddress           = "login-bind-address"
	flagLoginCertDir           = "login-tls-cert-dir"
	flagJWTSecretFile          = "jwt-secret-file"           //nolint:gosec // The name of a flag.
	flagJWTPreviousSecretFile  = "jwt-previous-secret-file"  //nolint:gosec // The name of a flag.
	flagJWTPreviousSecretUntil = "jwt-previous-secret-until" //nolint:gosec // The name of a flag.
	flagJWTSigningKeyFile      = "jwt-signing-key-file"
	flagDSNFile                = "user-database-dsn-file"
	flagListenDSNFile          = "listen-dsn-file"
	flagLoginDSNFile           = "login-database-dsn-file"
	flagMaxConnections         = "database-max-connections"
	flagLoginMaxConnections    = "login-database-max-connections"
	flagIdleConnections        = "database-idle-connections"
)
