// SPDX-License-Identifier: Apache-2.0

package config

import (
	"flag"
	"time"
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
	fs.Var(address{&s.MetricsBindAddress}, flagMetricsAddress, "`address` of the metrics, served over HTTPS to those whom the API server lets; 0 turns them off")
	fs.Var(path{&s.MetricsCertDir}, flagMetricsCertDir, "`folder` with the metrics' tls.crt and tls.key (default a self-signed certificate)")
	fs.Var(address{&s.HealthProbeBindAddress}, flagHealthAddress, "`address` of /healthz and /readyz; 0 turns them off")
	fs.Var(address{&s.PprofBindAddress}, flagPprofAddress, "`address` of Go's profiles, without authentication: 127.0.0.1:6060, say; 0 turns them off")
	fs.Var(onOff{&s.Tracing}, "tracing", "on or `off`: whether traces of reconciles and log-ins are sent by OTLP over HTTP, to where OTEL_EXPORTER_OTLP_ENDPOINT says; the other variables of OpenTelemetry count, too")
	fs.Var(duration{&s.GracefulShutdownTimeout, 0}, "graceful-shutdown-timeout", "`time` that running work gets to end after SIGTERM")
}

func (s *Settings) bindReconciling(fs *flag.FlagSet) {
	fs.BoolVar(&s.LeaderElect, "leader-elect", s.LeaderElect, "reconcile only while holding the lease, so that several replicas can run")
	fs.Var(namespace{&s.LeaderElectionNamespace}, "leader-election-namespace", "`namespace` of the lease (default the pod's own)")
	fs.Var(names{&s.WatchNamespaces, namespaceName, "a comma-separated list of names of namespaces, such as team-a,team-b"}, flagWatchNamespaces, "comma-separated `namespaces` to watch (default all)")
	fs.Var(number{&s.MaxConcurrentReconciles, 1, 1000}, "max-concurrent-reconciles", "`number` of resources reconciled at once")
	fs.Var(onOff{&s.Policies}, "policies", "`on` or off: whether ShardingUserPolicies decide who may declare which users; off where the manager has Roles in single namespaces only")
	fs.Var(names{&s.ProtectedRoles, roleName, "a comma-separated list of roles, such as admin,security"}, "protected-roles", "comma-separated `roles` that are not taken from the last active user who holds them; empty for none")
	fs.Var(choice{&s.Orphans, []string{OrphansReport, OrphansDeactivate}}, "orphans", "`action` for accounts whose ShardingUser was removed without its finalizer, or that came back with a restored database: report, or deactivate after a minute")
	fs.Var(rate{&s.KubeAPIQPS}, "kube-api-qps", "`number` of requests a second to the API server; 0 for any number, and to leave the limit to the API server's own fairness")
	fs.Var(number{&s.KubeAPIBurst, 1, 100000}, "kube-api-burst", "`number` of requests to the API server that may come at once, where --kube-api-qps limits them")
	fs.Var(duration{&s.ResyncInterval, time.Second}, "resync-interval", "`time` between two sweeps over the table, for what notifications missed and for counters")
	fs.Var(duration{&s.PollInterval, 100 * time.Millisecond}, "poll-interval", "`time` between two sweeps where the database gives no notifications")
	fs.Var(onOff{&s.Notifications}, "notifications", "`on` or off: whether a trigger on the table users reports changes; off drops it and polls the table, for two-phase commits and logical replicas")
}

func (s *Settings) bindPasswords(fs *flag.FlagSet) {
	fs.Var(number{&s.BcryptCost, 10, 14}, "bcrypt-cost", "`cost` of password hashes, 10 to 14; one more doubles the time of each")
	fs.Var(number{&s.PasswordMinLength, 1, 72}, flagPasswordMinLength, "smallest `number` of characters of a password")
	fs.Var(number{&s.HashCores, 1, 1024}, "hash-cores", "`number` of cores that may hash passwords at once")
}

func (d *Database) bind(fs *flag.FlagSet) {
	fs.Var(path{&d.DSNFile}, flagDSNFile, "`file` that holds the database's DSN, read again for each new connection; wins over "+envDSN)
	fs.Var(path{&d.ListenDSNFile}, flagListenDSNFile, "`file` that holds the DSN of a direct connection for notifications, where the other goes through PgBouncer")
	fs.Var(path{&d.LoginDSNFile}, flagLoginDSNFile, "`file` that holds the DSN of a database role for log-ins alone, which have a pool of their own then; the other role is the controller's (default one role for both)")
	fs.Var(number{&d.MaxConnections, 1, 1000}, flagMaxConnections, "largest `number` of connections to the database")
	fs.Var(number{&d.LoginMaxConnections, 1, 1000}, flagLoginMaxConnections, "largest `number` of connections of the pool for log-ins, where --"+flagLoginDSNFile+" gives them one")
	fs.Var(number{&d.IdleConnections, 0, 1000}, flagIdleConnections, "`number` of connections that may stay idle, at most those of --"+flagMaxConnections)
	fs.Var(duration{&d.ConnectionLifetime, time.Second}, "database-connection-lifetime", "`time` after which a connection is replaced")
	fs.Var(duration{&d.ConnectionIdleTime, time.Second}, "database-connection-idle-time", "`time` after which an idle connection is closed")
	fs.Var(duration{&d.Timeout, 100 * time.Millisecond}, "database-timeout", "`time` that one statement may take")
}

func (l *Login) bind(fs *flag.FlagSet) {
	fs.Var(address{&l.BindAddress}, flagLoginAddress, "`address` of the log-in API, served over HTTPS by every replica; 0 turns it off")
	fs.Var(path{&l.TLSCertDir}, flagLoginCertDir, "`folder` with the log-in API's tls.crt and tls.key, read again when they change (default a self-signed certificate)")
	fs.Var(path{&l.JWTSecretFile}, flagJWTSecretFile, "`file` that holds the secret to sign tokens with, at least 32 bytes, read again when it changes (default no tokens)")
	fs.Var(path{&l.JWTPreviousSecretFile}, flagJWTPreviousSecretFile, "`file` that holds a signing secret that is still accepted besides, for a replacement without an interruption; never one that leaked (default none)")
	fs.Var(moment{&l.JWTPreviousSecretUntil}, flagJWTPreviousSecretUntil, "`time`, in RFC 3339, when the previous signing secret stops being accepted (default 24h after the process read it)")
	fs.Var(number{&l.LockoutAttempts, 1, 1000}, "lockout-attempts", "`number` of failed log-ins that lock an account")
	fs.Var(duration{&l.LockoutDuration, time.Second}, "lockout-duration", "`time` for which an account is locked")
	fs.Var(numberOrAuto{number{&l.SourceRate, 0, 100000}}, "login-source-rate", "`number` of logins a second that one address may try; auto for half of what --hash-cores hash one by one, 0 for any number")
	fs.Var(number{&l.SourceBurst, 1, 100000}, "login-source-burst", "`number` of log-ins that one address may try at once")
	fs.Var(number{&l.MaxConnections, 16, 1_000_000}, "login-max-connections", "largest `number` of connections to the login API, half of it for one address; at the limit, the longest-waiting connection of the address that has most is closed")
	fs.Var(networks{&l.TrustedProxies}, "login-trusted-proxies", "comma-separated `networks` of proxies whose X-Forwarded-For is believed (default none)")
	fs.Var(duration{&l.VerifyCacheTTL, 0}, "verify-cache-ttl", "`time` for which verify recognises credentials that passed, without bcrypt; 0 for never")
	fs.Var(duration{&l.AuditRetention, time.Minute}, "audit-retention", "`time` for which log-in attempts stay on record")
	fs.Var(size{&l.AuditMaxSize}, "audit-max-size", "largest `size` of the record of login attempts, about, such as 2GiB; beyond it the least worthy go before their time: attempts on names that no account has first, successes last; 0 for any size")
	fs.Var(number{&l.AccountCacheSize, 1, 10_000_000}, "account-cache-size", "largest `number` of accounts that each replica keeps a copy of, for quick look-ups and for the fallback")
	fs.Var(onOff{&l.Fallback}, "fallback", "`on` or off: whether log-ins are decided from memory while the database is away")
	fs.Var(number{&l.FallbackAttempts, 0, 1000}, "fallback-attempts", "`number` of failed log-ins that lock an account while the database is away and each replica counts by itself; 0 for those of --lockout-attempts")
}

func (d *DefaultUsers) bind(fs *flag.FlagSet) {
	fs.Var(choice{&d.Passwords, []string{DefaultUsersOff, DefaultUsersGenerated, DefaultUsersSharding}}, flagDefaultUsers,
		"`passwords` of the users admin, operator and viewer that an empty system starts with: off (no such users), generated, or sharding (the sharding system's own, which everybody knows)")
	fs.Var(namespace{&d.Namespace}, flagDefaultUsersNamespace, "`namespace` of the default users (default the manager's own)")
	fs.Var(onOff{&d.TakeOver}, flagDefaultUsersTakeOver,
		"on or `off`: whether the default users, with generated passwords, take over the rows that the sharding manager inserted for admin, operator and viewer, where the table holds nothing else and no operator ever used it")
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
