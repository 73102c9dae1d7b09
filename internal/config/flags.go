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
}

func (s *Settings) bindServing(fs *flag.FlagSet) {
	fs.Var(address{&s.MetricsBindAddress}, flagMetricsAddress, "`address` of the metrics, served over HTTPS to those whom the API server lets; 0 turns them off")
	fs.Var(path{&s.MetricsCertDir}, flagMetricsCertDir, "`folder` with the metrics' tls.crt and tls.key (default a self-signed certificate)")
	fs.Var(address{&s.HealthProbeBindAddress}, flagHealthAddress, "`address` of /healthz and /readyz; 0 turns them off")
	fs.Var(duration{&s.GracefulShutdownTimeout, 0}, "graceful-shutdown-timeout", "`time` that running work gets to end after SIGTERM")
}

func (s *Settings) bindReconciling(fs *flag.FlagSet) {
	fs.BoolVar(&s.LeaderElect, "leader-elect", s.LeaderElect, "reconcile only while holding the lease, so that several replicas can run")
	fs.Var(namespace{&s.LeaderElectionNamespace}, "leader-election-namespace", "`namespace` of the lease (default the pod's own)")
	fs.Var(namespaces{&s.WatchNamespaces}, "watch-namespaces", "comma-separated `namespaces` to watch (default all)")
	fs.Var(number{&s.MaxConcurrentReconciles, 1, 1000}, "max-concurrent-reconciles", "`number` of resources reconciled at once")
	fs.Var(rate{&s.KubeAPIQPS}, "kube-api-qps", "`number` of requests a second to the API server")
	fs.Var(number{&s.KubeAPIBurst, 1, 100000}, "kube-api-burst", "`number` of requests to the API server that may come at once")
	fs.Var(duration{&s.ResyncInterval, time.Second}, "resync-interval", "`time` between two sweeps over the table, for what notifications missed and for counters")
	fs.Var(duration{&s.PollInterval, 100 * time.Millisecond}, "poll-interval", "`time` between two sweeps where the database gives no notifications")
}

func (s *Settings) bindPasswords(fs *flag.FlagSet) {
	fs.Var(number{&s.BcryptCost, 10, 14}, "bcrypt-cost", "`cost` of password hashes, 10 to 14; one more doubles the time of each")
	fs.Var(number{&s.PasswordMinLength, 1, 72}, "password-min-length", "smallest `number` of characters of a password")
	fs.Var(number{&s.HashCores, 1, 1024}, "hash-cores", "`number` of cores that may hash passwords at once")
}

func (d *Database) bind(fs *flag.FlagSet) {
	fs.Var(path{&d.DSNFile}, flagDSNFile, "`file` that holds the database's DSN, read again for each new connection; wins over "+envDSN)
	fs.Var(path{&d.ListenDSNFile}, flagListenDSNFile, "`file` that holds the DSN of a direct connection for notifications, where the other goes through PgBouncer")
	fs.Var(number{&d.MaxConnections, 1, 1000}, flagMaxConnections, "largest `number` of connections to the database")
	fs.Var(number{&d.IdleConnections, 0, 1000}, flagIdleConnections, "`number` of connections that may stay idle, at most those of --"+flagMaxConnections)
	fs.Var(duration{&d.ConnectionLifetime, time.Second}, "database-connection-lifetime", "`time` after which a connection is replaced")
	fs.Var(duration{&d.ConnectionIdleTime, time.Second}, "database-connection-idle-time", "`time` after which an idle connection is closed")
	fs.Var(duration{&d.Timeout, 100 * time.Millisecond}, "database-timeout", "`time` that one statement may take")
}

// The flags that are named elsewhere too.
const (
	flagConfig          = "config"
	flagMetricsAddress  = "metrics-bind-address"
	flagMetricsCertDir  = "metrics-cert-dir"
	flagHealthAddress   = "health-probe-bind-address"
	flagDSNFile         = "user-database-dsn-file"
	flagListenDSNFile   = "listen-dsn-file"
	flagMaxConnections  = "database-max-connections"
	flagIdleConnections = "database-idle-connections"
)
