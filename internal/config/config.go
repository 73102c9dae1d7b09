// SPDX-License-Identifier: Apache-2.0

// Package config turns a settings file, the environment and the command line
// into one checked [Settings].
//
// Each setting is a flag. In rising order of precedence its value comes from
// the settings file (section "operator", key "bcrypt-cost"), the environment
// (SHARDINGUSER_BCRYPT_COST; empty counts as not set) and the command line
// (--bcrypt-cost). All of it follows from one table, see [Table].
//
// The DSN of the database is never a flag's value, because other users of the
// machine can read a process's arguments. It comes from the file that
// --user-database-dsn-file names, from USER_DATABASE_DSN, or from
// security.user_database_dsn in the settings file; the first of these wins.
// DSNs of other roles come from files only. Errors never hold a part of a DSN.
package config

import (
	"net/netip"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/dsn"
)

// LeaseName is that of the lease which the leader of the default system holds.
const LeaseName = "shardinguser-operator.sharding.io"

// LeaseOf returns the name of the lease which the leader of a system holds.
func LeaseOf(system string) string {
	if system == "" {
		return LeaseName
	}
	return system + "." + LeaseName
}

// Settings is what the manager runs by. Every value lies within its limits;
// every file that a path names could be read when [Load] returned.
type Settings struct {
	// ConfigFile is the settings file that was read, empty for none.
	ConfigFile string

	// Warnings are sentences about what was given and has no effect. They hold
	// no secret.
	Warnings []string

	Database     Database
	Login        Login
	DefaultUsers DefaultUsers

	// BcryptCost is the binary logarithm of bcrypt's rounds, 10 to 14.
	BcryptCost int
	// PasswordMinLength is in characters, 1 to 72.
	PasswordMinLength int
	// DigestKeySecret is the name of the Secret with the key of password digests;
	// empty for no digests.
	DigestKeySecret string
	// HashCores is how many cores may compute hashes at once, 1 or more.
	HashCores int

	// MetricsBindAddress and HealthProbeBindAddress are host:port, or "0" for
	// off.
	MetricsBindAddress     string
	HealthProbeBindAddress string
	// PprofBindAddress serves Go's profiles without authentication; "0", for
	// off, by default.
	PprofBindAddress string
	// MetricsCertDir has tls.crt and tls.key; empty for a self-signed
	// certificate.
	MetricsCertDir string

	// Tracing tells whether traces are sent, to where the variables of
	// OpenTelemetry say.
	Tracing bool

	LeaderElect bool
	// LeaderElectionNamespace holds the lease; empty for the pod's own.
	LeaderElectionNamespace string

	// Namespace is the manager's own: that of its lease, which is the pod's unless
	// another one was given, or "default" for a manager outside a cluster.
	Namespace string

	// System is the sharding system that the manager serves: only resources with this spec.system exist to it. It is empty for the
	// default system, of the resources without one.
	System string

	// WatchNamespaces are sorted and distinct; none means all.
	WatchNamespaces         []string
	MaxConcurrentReconciles int
	// Policies tells whether ShardingUserPolicies decide who is permitted what.
	Policies bool
	// ProtectedRoles are sorted and distinct: roles that are not taken from the
	// last active user who holds them.
	ProtectedRoles []string
	// Orphans is OrphansReport or OrphansDeactivate: what becomes of accounts
	// whose ShardingUser is gone without its finalizer having run.
	Orphans string
	// KubeAPIQPS, requests a second, and KubeAPIBurst limit the Kubernetes
	// client; 0 requests a second are no limit.
	KubeAPIQPS   float32
	KubeAPIBurst int

	// ResyncInterval is the time between two sweeps over the whole table, for
	// what notifications missed and for counters.
	ResyncInterval time.Duration
	// PollInterval takes ResyncInterval's place where notifications cannot be
	// had.
	PollInterval time.Duration
	// Notifications tells whether a trigger on the table reports changes; off,
	// the table is polled.
	Notifications bool

	// GracefulShutdownTimeout is the time from SIGTERM that running work gets;
	// 0 ends it at once.
	GracefulShutdownTimeout time.Duration
	// ShutdownDelay is the time from SIGTERM in which the login server accepts connections: the proxies of a Service
	// need it to stop routing to this replica. It is shorter than GracefulShutdownTimeout, unless that is 0.
	ShutdownDelay time.Duration
}

// Database says how the database is reached.
type Database struct {
	// DSN is the one in force when the settings were loaded; empty for the
	// in-memory store. Use [Database.CurrentDSN] for each new connection.
	DSN dsn.DSN
	// DSNFile is the file that DSN was read from; empty where DSN came from
	// the settings file or the environment, which cannot change.
	DSNFile string
	// ListenDSNFile holds the DSN of a direct connection for LISTEN, where
	// the pool goes through a pooler that loses notifications. Empty where
	// the pool's DSN does for both.
	ListenDSNFile string

	// LoginDSNFile holds the DSN of a separate role for logins. Empty where one
	// role serves both; else there is a database, and logins are served.
	LoginDSNFile string

	// MaxConnections is 1 or more, IdleConnections 0 to MaxConnections.
	MaxConnections int
	// LoginMaxConnections, 1 or more, is MaxConnections of the login pool, where
	// there is one.
	LoginMaxConnections int

	IdleConnections    int
	ConnectionLifetime time.Duration
	ConnectionIdleTime time.Duration
	// Timeout is that of one statement.
	Timeout time.Duration
}

// Login says how logins are served.
type Login struct {
	// BindAddress is host:port, or "0" for off.
	BindAddress string
	// TLSCertDir has tls.crt and tls.key; empty for a self-signed certificate.
	TLSCertDir string
	// JWTSecretFile holds the secret that tokens are signed with; empty for no
	// tokens.
	JWTSecretFile string
	// JWTPreviousSecretFile holds a secret that tokens may be signed with, too,
	// until JWTPreviousSecretUntil; where that is zero, for as long as a token
	// lasts from when the file was read. Empty for none.
	JWTPreviousSecretFile  string
	JWTPreviousSecretUntil time.Time
	// JWTSigningKeyFile holds the private key that tokens are signed with in place of the secret; empty for none.
	JWTSigningKeyFile string
	// TokenLifetime is the time from when a token is issued until it expires.
	TokenLifetime time.Duration
	// TokenIssuer and TokenAudience are claims of tokens that a signing key signs.
	TokenIssuer, TokenAudience string

	// LockoutAttempts is how many failures lock an account, 1 or more, and
	// LockoutDuration for how long.
	LockoutAttempts int
	LockoutDuration time.Duration

	// SourceRate is how many attempts a second one address may make, Auto for
	// half of what the hashing cores compute one by one, and 0 for any
	// number, and SourceBurst how many of them at once.
	SourceRate, SourceBurst int
	// MaxConnections is how many connections there may be at once, 16 or more.
	MaxConnections int
	// TrustedProxies are those whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix

	// VerifyCacheTTL is how long credentials that passed are recognised without
	// bcrypt; 0 is never.
	VerifyCacheTTL time.Duration
	// AuditRetention is how long attempts stay in the record.
	AuditRetention time.Duration
	// AuditMaxSize is about how many bytes of attempts stay in the record; 0 for
	// any number.
	AuditMaxSize int64

	// AccountCacheSize is how many accounts each replica keeps a copy of.
	AccountCacheSize int
	// Fallback reports whether logins are decided from the account cache while
	// the database is unavailable.
	Fallback bool
	// FallbackAttempts is how many failures one replica alone counts then before
	// it locks; 0 is LockoutAttempts.
	FallbackAttempts int
}

// The values of DefaultUsers.Passwords.
const (
	DefaultUsersOff       = "off"
	DefaultUsersGenerated = "generated"
	DefaultUsersSharding  = "sharding"
)

// The values of Settings.Orphans.
const (
	OrphansReport     = "report"
	OrphansDeactivate = "deactivate"
)

// DefaultUsers says which accounts a sharding system starts with.
type DefaultUsers struct {
	// Passwords is DefaultUsersOff for no accounts, DefaultUsersGenerated for a
	// random password each, or DefaultUsersSharding for those that the sharding
	// system gives them.
	Passwords string
	// Namespace is where they are created, one of those that are watched; the
	// manager's own unless another was given.
	Namespace string
	// TakeOver tells whether they take over the accounts that the sharding
	// manager inserted, where the table holds nothing else. Passwords is
	// DefaultUsersGenerated then.
	TakeOver bool
}

// Enabled reports whether there are any.
func (d DefaultUsers) Enabled() bool { return d.Passwords != DefaultUsersOff }

// Enabled reports whether logins are served.
func (l Login) Enabled() bool { return l.BindAddress != off }

// Configured tells whether there is a database at all; without, the in-memory
// store serves.
func (d Database) Configured() bool { return d.DSN != "" }

// CurrentDSN returns the DSN for a new connection, read again where it comes
// from a file, so that a rotated credential is taken up. Its errors are
// [dsn.ReadFile]'s.
func (d Database) CurrentDSN() (dsn.DSN, error) {
	if d.DSNFile == "" {
		return d.DSN, nil
	}
	return dsn.ReadFile(d.DSNFile)
}

// CurrentListenDSN returns the DSN for a new connection that listens, where
// there is a file for it.
func (d Database) CurrentListenDSN() (dsn.DSN, error) { return dsn.ReadFile(d.ListenDSNFile) }

// CurrentLoginDSN returns the DSN for a new connection of the login role, where
// there is a file for it.
func (d Database) CurrentLoginDSN() (dsn.DSN, error) { return dsn.ReadFile(d.LoginDSNFile) }
