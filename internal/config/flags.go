// SPDX-License-Identifier: Apache-2.0

package config

import (
	"flag"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/dsn"
)

// bind defines a flag for each setting, with the value it has in s for its
// default. A later part of the program gets a function of its own here.
func (s *Settings) bind(fs *flag.FlagSet) {
	fs.Var(path{&s.ConfigFile}, flagConfig, "settings `file`, JSON or YAML (default "+defaultConfigFile+" where that exists; empty for none)")
	s.bindServing(fs)
	s.bindReconciling(fs)
	s.bindPasswords(fs)
	s.Database.bind(fs)
	s.Login.bind(fs)
	s.DefaultUsers.bind(fs)
}

func (s *Settings) bindServing(fs *flag.FlagSet) {
	fs.Var(address{&s.MetricsBindAddress}, flagMetricsAddress, "`address` of the metrics, served over HTTPS to clients that the API server authorizes; 0 disables them")
	fs.Var(path{&s.MetricsCertDir}, flagMetricsCertDir, "`folder` with the metrics' tls.crt and tls.key (default a self-signed certificate)")
	fs.Var(address{&s.HealthProbeBindAddress}, flagHealthAddress, "`address` of /healthz and /readyz; 0 disables them")
	fs.Var(address{&s.PprofBindAddress}, flagPprofAddress, "`address` of Go's profiles, without authentication, for example 127.0.0.1:6060; 0 disables them")
	fs.Var(onOff{&s.Tracing}, "tracing", "on or `off`: send traces of reconciles and logins by OTLP over HTTP to OTEL_EXPORTER_OTLP_ENDPOINT; the other OpenTelemetry variables apply too")
	fs.Var(duration{&s.GracefulShutdownTimeout, 0}, "graceful-shutdown-timeout", "`time` that running work has to finish after SIGTERM")
}

func (s *Settings) bindReconciling(fs *flag.FlagSet) {
	fs.BoolVar(&s.LeaderElect, "leader-elect", s.LeaderElect, "reconcile only while holding the lease, which allows several replicas")
	fs.Var(namespace{&s.LeaderElectionNamespace}, "leader-election-namespace", "`namespace` of the lease (default the pod's own)")
	fs.Var(names{&s.WatchNamespaces, namespaceName, "a comma-separated list of names of namespaces, such as team-a,team-b"}, flagWatchNamespaces, "comma-separated `namespaces` to watch (default all)")
	fs.Var(number{&s.MaxConcurrentReconciles, 1, 1000}, "max-concurrent-reconciles", "`number` of resources reconciled at once")
	fs.Var(onOff{&s.Policies}, "policies", "`on` or off: enforce ShardingUserPolicies; set off if the manager has only Roles in single namespaces")
	fs.Var(names{&s.ProtectedRoles, roleName, "a comma-separated list of roles, such as admin,security"}, "protected-roles", "comma-separated `roles` that the last active user with the role keeps; empty for none")
	fs.Var(choice{&s.Orphans, []string{OrphansReport, OrphansDeactivate}}, "orphans", "`action` for accounts whose ShardingUser does not exist, for example after a database restore: report, or deactivate after a minute")
	fs.Var(rate{&s.KubeAPIQPS}, "kube-api-qps", "maximum `number` of requests per second to the API server; 0 for no limit other than the API server's own")
	fs.Var(number{&s.KubeAPIBurst, 1, 100000}, "kube-api-burst", "maximum `number` of requests to the API server in a burst, if --kube-api-qps limits them")
	fs.Var(duration{&s.ResyncInterval, time.Second}, "resync-interval", "`time` between full reads of the table, for missed notifications and for counters")
	fs.Var(duration{&s.PollInterval, 100 * time.Millisecond}, "poll-interval", "`time` between full reads of the table while notifications are unavailable")
	fs.Var(onOff{&s.Notifications}, "notifications", "`on` or off: report changes by a trigger on the table users; off drops the trigger and polls, for two-phase commits and logical replicas")
}

func (s *Settings) bindPasswords(fs *flag.FlagSet) {
	fs.Var(number{&s.BcryptCost, 10, 14}, "bcrypt-cost", "bcrypt `cost` of password hashes, 10 to 14; each step doubles the time of a hash")
	fs.Var(number{&s.PasswordMinLength, 1, 72}, flagPasswordMinLength, "minimum `number` of characters of a password")
	fs.Var(number{&s.HashCores, 1, 1024}, "hash-cores", "`number` of cores that hash passwords")
}

func (d *Database) bind(fs *flag.FlagSet) {
	fs.Var(path{&d.DSNFile}, flagDSNFile, "`file` that contains the database DSN, read again for each new connection; overrides "+dsn.Variable)
	fs.Var(path{&d.ListenDSNFile}, flagListenDSNFile, "`file` that contains the DSN of a direct connection for notifications, if the main DSN goes through PgBouncer")
	fs.Var(path{&d.LoginDSNFile}, flagLoginDSNFile, "`file` that contains the DSN of a separate database role for logins, with its own connection pool (default the controller's role)")
	fs.Var(number{&d.MaxConnections, 1, 1000}, flagMaxConnections, "maximum `number` of connections to the database")
	fs.Var(number{&d.LoginMaxConnections, 1, 1000}, flagLoginMaxConnections, "maximum `number` of connections in the login pool, if --"+flagLoginDSNFile+" is set")
	fs.Var(number{&d.IdleConnections, 0, 1000}, flagIdleConnections, "maximum `number` of idle connections, at most --"+flagMaxConnections)
	fs.Var(duration{&d.ConnectionLifetime, time.Second}, "database-connection-lifetime", "`time` after which a connection is replaced")
	fs.Var(duration{&d.ConnectionIdleTime, time.Second}, "database-connection-idle-time", "`time` after which an idle connection is closed")
	fs.Var(duration{&d.Timeout, 100 * time.Millisecond}, "database-timeout", "`time` that one statement may take")
}

func (l *Login) bind(fs *flag.FlagSet) {
	fs.Var(address{&l.BindAddress}, flagLoginAddress, "`address` of the login API, served over HTTPS by every replica; 0 disables it")
	fs.Var(path{&l.TLSCertDir}, flagLoginCertDir, "`folder` with the login API's tls.crt and tls.key, reloaded when they change (default a self-signed certificate)")
	fs.Var(path{&l.JWTSecretFile}, flagJWTSecretFile, "`file` that contains the secret that signs tokens, at least 32 bytes, reloaded when it changes (default no tokens)")
	fs.Var(path{&l.JWTPreviousSecretFile}, flagJWTPreviousSecretFile, "`file` that contains the previous signing secret, which is still accepted during a rotation; never a leaked secret (default none)")
	fs.Var(moment{&l.JWTPreviousSecretUntil}, flagJWTPreviousSecretUntil, "`time` in RFC 3339 when the previous signing secret expires (default 24h after the process read it)")
	fs.Var(number{&l.LockoutAttempts, 1, 1000}, "lockout-attempts", "`number` of failed logins that lock an account")
	fs.Var(duration{&l.LockoutDuration, time.Second}, "lockout-duration", "`time` that an account stays locked")
	fs.Var(numberOrAuto{number{&l.SourceRate, 0, 100000}}, "login-source-rate", "maximum `number` of logins per second from one address; auto for half the hashing capacity of --hash-cores, 0 for no limit")
	fs.Var(number{&l.SourceBurst, 1, 100000}, "login-source-burst", "maximum `number` of logins from one address in a burst")
	fs.Var(number{&l.MaxConnections, 16, 1_000_000}, "login-max-connections", "maximum `number` of connections to the login API, half of it for one address; at the limit, the longest-waiting connection of the busiest address is closed")
	fs.Var(networks{&l.TrustedProxies}, "login-trusted-proxies", "comma-separated `networks` of proxies whose X-Forwarded-For is trusted (default none)")
	fs.Var(duration{&l.VerifyCacheTTL, 0}, "verify-cache-ttl", "`time` that verify accepts verified credentials without bcrypt; 0 for never")
	fs.Var(duration{&l.AuditRetention, time.Minute}, "audit-retention", "retention `time` of the record of login attempts")
	fs.Var(size{&l.AuditMaxSize}, "audit-max-size", "approximate maximum `size` of the record of login attempts, such as 2GiB; above it, attempts on unknown usernames are deleted first, successes last; 0 for no limit")
	fs.Var(number{&l.AccountCacheSize, 1, 10_000_000}, "account-cache-size", "maximum `number` of accounts in each replica's account cache, which serves lookups and the fallback")
	fs.Var(onOff{&l.Fallback}, "fallback", "`on` or off: decide logins from the account cache while the database is unavailable")
	fs.Var(number{&l.FallbackAttempts, 0, 1000}, "fallback-attempts", "`number` of failed logins per replica that lock an account while the database is unavailable; 0 for --lockout-attempts")
}

func (d *DefaultUsers) bind(fs *flag.FlagSet) {
	fs.Var(choice{&d.Passwords, []string{DefaultUsersOff, DefaultUsersGenerated, DefaultUsersSharding}}, flagDefaultUsers,
		"`passwords` of the users admin, operator and viewer that an empty system starts with: off (no such users), generated, or sharding (the well-known ones of the sharding system)")
	fs.Var(namespace{&d.Namespace}, flagDefaultUsersNamespace, "`namespace` of the default users (default the manager's own)")
	fs.Var(onOff{&d.TakeOver}, flagDefaultUsersTakeOver,
		"on or `off`: the default users, with generated passwords, adopt the sharding manager's rows of admin, operator and viewer, if the table contains nothing else and no operator used it before")
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
	flagHealthAddress          = "health-probe-bind-address"
	flagPprofAddress           = "pprof-bind-address"
	flagLoginAddress           = "login-bind-address"
	flagLoginCertDir           = "login-tls-cert-dir"
	flagJWTSecretFile          = "jwt-secret-file"           //nolint:gosec // The name of a flag.
	flagJWTPreviousSecretFile  = "jwt-previous-secret-file"  //nolint:gosec // The name of a flag.
	flagJWTPreviousSecretUntil = "jwt-previous-secret-until" //nolint:gosec // The name of a flag.
	flagDSNFile                = "user-database-dsn-file"
	flagListenDSNFile          = "listen-dsn-file"
	flagLoginDSNFile           = "login-database-dsn-file"
	flagMaxConnections         = "database-max-connections"
	flagLoginMaxConnections    = "login-database-max-connections"
	flagIdleConnections        = "database-idle-connections"
)
