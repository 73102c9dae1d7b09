// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"cmp"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	pgdsn "github.com/sharding-system/shardinguser-operator/internal/dsn"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/session"
)

// DSNSource returns the DSN for a new connection: a URL or keywords and values. It is called each time, and so may read
// a file that changes. Its errors are shown to administrators and must not hold any part of a DSN.
type DSNSource func() (string, error)

// Settings configure a Store. The zero value of a field is its default.
type Settings struct {
	// DSN is the DSN of the pool. It is required.
	DSN DSNSource

	// ListenDSN is that of direct connections, which LISTEN and migrations need where the pool goes through a pooler
	// such as PgBouncer. The default is DSN.
	ListenDSN DSNSource

	listensElsewhere bool // the two are not the same

	// Role is the purpose of the DSN's role. The default is everything.
	Role Role

	// Peer is the controller's store, for a store of RoleLogin. Its Maintain creates the tables, and both have to lead to the same.
	Peer *Store

	MaxConns        int           // the most connections of the pool; default 25
	MinIdleConns    int           // connections that wait in the pool; negative for none; default 5
	MaxConnLifetime time.Duration // default 5 min
	MaxConnIdleTime time.Duration // default 1 min

	StatementTimeout time.Duration // of one call, the wait for a connection included; default 5 s
	ResyncInterval   time.Duration // from sweep to sweep while notifications arrive; default 30 s
	PollInterval     time.Duration // from sweep to sweep while they do not; default 2 s
	CheckInterval    time.Duration // between checks of whether the database answers; default 1 s
	InspectInterval  time.Duration // between inspections of the table; default 10 min
	DefaultsInterval time.Duration // between searches for default passwords; default 1 min

	// NoNotifications does without the trigger on users: the store drops it if it may, and polls.
	NoNotifications bool

	// Tracer traces the statements of the pool. The default is none.
	Tracer pgx.QueryTracer

	// Changed is called for each recorded change once it is committed, except for transfers. The default is nothing.
	Changed func(store.AccountChange)

	// Log logs changes of state, not each failure. The default discards.
	Log *slog.Logger
}

const (
	defaultConnectTimeout = 5 * time.Second
	severalHostsTimeout   = 2 * time.Second // for each of several hosts: a call has time for the next one
	applicationName       = "shardinguser-operator"
)

// withDefaults returns the settings with every field filled in.
func (s Settings) withDefaults() Settings {
	s.listensElsewhere = s.ListenDSN != nil
	if !s.listensElsewhere {
		s.ListenDSN = s.DSN
	}
	s.MaxConns = cmp.Or(s.MaxConns, 25)
	s.MinIdleConns = max(0, min(cmp.Or(s.MinIdleConns, 5), s.MaxConns))
	s.MaxConnLifetime = cmp.Or(s.MaxConnLifetime, 5*time.Minute)
	s.MaxConnIdleTime = cmp.Or(s.MaxConnIdleTime, time.Minute)
	s.StatementTimeout = cmp.Or(s.StatementTimeout, 5*time.Second)
	s.ResyncInterval = cmp.Or(s.ResyncInterval, 30*time.Second)
	s.PollInterval = cmp.Or(s.PollInterval, 2*time.Second)
	s.CheckInterval = cmp.Or(s.CheckInterval, time.Second)
	s.InspectInterval = cmp.Or(s.InspectInterval, 10*time.Minute)
	s.DefaultsInterval = cmp.Or(s.DefaultsInterval, time.Minute)
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	return s
}

// poolConfig is the pool's configuration by these settings. An error is an UnavailableError.
func (s Settings) poolConfig() (*pgxpool.Config, error) {
	config, err := parse(s.DSN)
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(s.MaxConns)         //nolint:gosec // a number of connections is small
	config.MinIdleConns = int32(s.MinIdleConns) //nolint:gosec // a number of connections is small
	config.MinConns = 0
	config.MaxConnLifetime = s.MaxConnLifetime
	config.MaxConnIdleTime = s.MaxConnIdleTime
	config.PingTimeout = s.StatementTimeout
	config.ShouldPing = shouldPing
	if s.Tracer != nil {
		config.ConnConfig.Tracer = s.Tracer
	}
	return config, nil
}

// connConfig is the configuration of a new connection, from the DSN as it is now. An error is an UnavailableError.
func connConfig(source DSNSource) (*pgx.ConnConfig, error) {
	config, err := parse(source)
	if err != nil {
		return nil, err
	}
	return config.ConnConfig, nil
}

// parse reads the DSN and pins what every session needs.
func parse(source DSNSource) (*pgxpool.Config, error) {
	dsn, err := read(source)
	if err != nil {
		return nil, err
	}
	config, err := understand(dsn)
	if err != nil {
		return nil, err
	}
	pin(config.ConnConfig)
	return config, nil
}

// read returns the DSN as it is now, without the space around it.
func read(source DSNSource) (string, error) {
	dsn, err := source()
	if err != nil {
		return "", &store.UnavailableError{Sentence: "The DSN cannot be read: " + err.Error(), Err: err}
	}
	if dsn = strings.TrimSpace(dsn); dsn == "" {
		// The parser would use a server on this machine.
		return "", &store.UnavailableError{Sentence: "The DSN is empty; write a URL (postgres://...) or keywords (host=... user=...)."}
	}
	return dsn, nil
}

// understand parses the DSN.
func understand(dsn string) (*pgxpool.Config, error) {
	config, err := pgdsn.Parse(dsn)
	if err != nil {
		return nil, &store.UnavailableError{Sentence: "The DSN cannot be used: " + err.Error() + ".", Err: err}
	}
	return config, nil
}

// pin sets what a session starts with, whatever the DSN, the role or the database set.
func pin(config *pgx.ConnConfig) {
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = defaultConnectTimeout
		if countHosts(config) > 1 {
			config.ConnectTimeout = severalHostsTimeout
		}
	}
	params := config.RuntimeParams
	session.Pin(params)
	if params["application_name"] == "" {
		params["application_name"] = applicationName
	}
}

// countHosts returns the number of hosts that a new connection tries. A host may be tried twice, with and without TLS.
func countHosts(config *pgx.ConnConfig) int {
	type address struct {
		host string
		port uint16
	}
	hosts := map[address]struct{}{{config.Host, config.Port}: {}}
	for _, fallback := range config.Fallbacks {
		hosts[address{fallback.Host, fallback.Port}] = struct{}{}
	}
	return len(hosts)
}
