// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/observer"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/session"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Store is a store on Postgres. It is safe for concurrent use. [Store.Maintain] has to run.
type Store struct {
	settings Settings
	timing   timing
	pool     *pgxpool.Pool
	health   *health
	sessions *session.Registry
	opened   dsnDigests // of the DSNs, when the store was opened

	lanes      *lanes
	proofs     shared[error]
	suspected  shared[suspects]
	unchecked  unchecked
	aggregates aggregates

	rowSecurity atomic.Bool // row-level security applies to the role, as the last inspection found

	migrated      chan struct{} // closed when the schema is complete for the first time
	migratedOnce  sync.Once
	tried         chan struct{} // closed when the first migration has ended or failed
	triedOnce     sync.Once
	missing       chan struct{} // holds one when a call found a table missing
	doubts        chan struct{} // holds one when a call failed in a way that a check explains
	inspectable   chan struct{} // holds one when the tables are complete and not inspected yet
	mu            sync.Mutex
	findings      []store.Finding         // of the last inspection
	defaults      store.DefaultPasswords  // as they were found last
	notMigrated   *store.UnavailableError // why the last migration failed; nil where it did not
	triggerFailed string                  // why there is no trigger, as it was logged; "" where there is one
	tables        tableIdentity           // as they were last seen

	mismatched atomic.Bool // the tables are not those of the peer
	compared   time.Time   // when they were compared last; of the checking goroutine only

	comparedAfter     uint64 // how many renewals both stores had made by then
	mismatchSuspected bool   // the last comparison found different tables

	observer *observer.Observer

	splitsBudgets atomic.Bool // the schema was found to have familiar addresses
}

// Open returns a store. The database need not be available, but the DSN has to be valid: an error is an UnavailableError about
// it.
func Open(settings Settings) (*Store, error) {
	settings = settings.withDefaults()
	config, err := settings.poolConfig()
	if err != nil {
		return nil, err
	}
	sessions := session.NewRegistry()
	config.BeforeConnect = func(_ context.Context, config *pgx.ConnConfig) error {
		generation := sessions.Renewals() // before the DSN is read
		fresh, err := connConfig(settings.DSN)
		if err != nil {
			return err
		}
		fresh.Tracer = settings.Tracer
		sessions.Fit(fresh)
		fresh.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
			added, err := sessions.Identify(ctx, conn, fresh, generation, settings.StatementTimeout)
			if err == nil {
				sessions.Add(conn, added)
			}
			return err
		}
		*config = *fresh // as a whole: hosts, fallbacks and TLS may be others by now
		return nil
	}
	health := newHealth(settings.Log)
	config.BeforeClose = func(conn *pgx.Conn) {
		health.hadConnection()
		sessions.Remove(conn.PgConn())
	}
	config.PrepareConn = func(_ context.Context, conn *pgx.Conn) (bool, error) { return !sessions.IsStale(conn.PgConn()), nil }
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, &store.UnavailableError{Sentence: "The connection pool cannot be created with these settings.", Err: err}
	}
	s := &Store{
		settings: settings,
		timing:   usualTiming(),
		pool:     pool,
		health:   health,
		lanes:    newLanes(settings.MaxConns),
		sessions: sessions,
		opened:   digestDSNs(settings),
		migrated: make(chan struct{}),
		tried:    make(chan struct{}),
		missing:  make(chan struct{}, 1),
		doubts:   make(chan struct{}, 1),

		inspectable: make(chan struct{}, 1),
	}
	s.observer = observer.New(&observed{Store: s}, observer.Settings{
		NoNotifications: settings.NoNotifications, PollInterval: settings.PollInterval, ResyncInterval: settings.ResyncInterval,
		Ready: s.migrated, Log: settings.Log,
	})
	return s, nil
}

// closeTimeout is how long Close waits: a server that does not answer must not keep the process from ending.
const closeTimeout = 3 * time.Second

// Close closes the connections. It waits for running calls, but not for longer than three seconds, so end their contexts first.
func (s *Store) Close() {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		s.pool.Close()
	}()
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-closed:
	case <-timer.C:
	}
}

// Pool returns the connections, for their metrics.
func (s *Store) Pool() *pgxpool.Pool { return s.pool }

// Health returns what the store knows of the database.
func (s *Store) Health() store.Health {
	h := s.health.known(currentAge)
	if s.mismatched.Load() {
		h.Reading, h.Writing = s.errMismatched(), s.errMismatched()
	}
	h.Current = h.Current && s.sessions.IsAgreed()
	h.Watched = s.observer.IsWatched()
	s.mu.Lock()
	defer s.mu.Unlock()
	h.Findings, h.DefaultPasswords = s.findings, s.defaults
	return h
}

// currentAge is the age from which changes are known to subscribers of a store that is current.
const currentAge = time.Second

// access is what a call does, and so what its success proves.
type access int

const (
	asks   access = iota // reads none of the tables
	reads                // them
	writes               // them
)

// run is call for one statement or one transaction on one connection of the pool. Its error says whether the database can have
// received any of it.
func (s *Store) run(ctx context.Context, access access, limit time.Duration, do func(context.Context, *conn) error) error {
	if s.mismatched.Load() {
		return s.errMismatched()
	}
	return s.call(ctx, access, limit, func(ctx context.Context) error {
		pooled, err := s.pool.Acquire(ctx)
		if err != nil {
			if errors.Is(err, context.DeadlineExceeded) && s.isBusy() {
				err = fmt.Errorf("%w: %w", errBusy, err)
			}
			return &unsentError{err}
		}
		defer pooled.Release()
		if err = replanned(func() error { return do(ctx, s.on(pooled.Conn())) }); pgconn.SafeToRetry(err) {
			return &unsentError{err} // a transaction was not committed
		}
		return err
	})
}

// mostPlans is how often a statement is prepared for one call. Two are enough unless the table is altered again in between.
const mostPlans = 4

// replanned repeats a call that the server rejected because a column got another type since the statement was prepared. The
// server rejects it before it executes anything, and the driver has dropped the statement by then.
func replanned(do func() error) error {
	for plans := 1; ; plans++ {
		err := do()
		var refusal *pgconn.PgError
		var sent *sentError
		if !errors.As(err, &refusal) || refusal.Code != codeNotSupported || errors.As(err, &sent) || plans == mostPlans {
			return err
		}
	}
}

// isBusy reports whether all connections of the pool are in use.
func (s *Store) isBusy() bool {
	stat := s.pool.Stat()
	return stat.AcquiredConns() >= stat.MaxConns()
}

// call runs a call of the database within a limit, turns its error into one of package store, and records whether the database
// answered. A write that does not return causes a probe before the limit: a commit may hang, which a read does not show.
func (s *Store) call(ctx context.Context, access access, limit time.Duration, do func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if access == writes {
		slow := time.AfterFunc(s.timing.slowWrite, s.doubtWrites)
		defer slow.Stop()
	}
	err := do(limited)
	switch {
	case err == nil:
		s.health.succeeded(access)
		return nil
	case ctx.Err() != nil:
		return ctx.Err() // the error of the caller's context says nothing of the database
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrLastHolder):
		s.health.succeeded(min(access, reads))
		return err
	}
	return s.failure(ctx, err, access, limit)
}

// doubtWrites has a check write to the database.
func (s *Store) doubtWrites() {
	s.health.doubtWrites()
	wake(s.doubts)
}

// failure returns an error of the driver as callers get it, and records it.
func (s *Store) failure(ctx context.Context, err error, access access, limit time.Duration) error {
	v := s.classify(err, access, limit)
	switch access {
	case writes:
		v = s.weighed(ctx, v, err)
	case reads:
		v = s.unread(ctx, v, err)
	case asks:
	}
	switch v.kind {
	case conflict:
		s.health.succeeded(min(access, reads))
		return store.ErrConflict
	case statement:
		if errors.Is(err, errBack) || errors.Is(err, errRelocked) {
			v.sentence += " " + s.Explain(ctx, []user.Field{user.FieldRow})
		}
		s.health.succeeded(min(access, reads))
		return &store.RejectedError{Sentence: s.settings.Role.aboutDSN(v.sentence), Err: err}
	case unavailable:
		s.health.setUseless(unavailable)
		wake(s.doubts)
	case doubtful:
		s.doubtWrites()
	case unreadable, readOnly, refusing:
		wake(s.doubts)
	case none, blocked, busy:
	}
	return s.took(v, err)
}

// took records a failure, and returns it as callers get it.
func (s *Store) took(v class, err error) *store.UnavailableError {
	v.sentence = s.settings.Role.aboutDSN(v.sentence)
	unavailable := v.unavailable(err)
	if isLacking(v.code) {
		// The reason why the tables do not exist, or are of another version, says more.
		s.mu.Lock()
		if s.notMigrated != nil {
			unavailable = s.notMigrated
		}
		s.mu.Unlock()
	}
	if v.code == codeUndefinedTable {
		wake(s.missing)
	}
	if v.code == codeReadOnly {
		s.renew(session.ReadOnlyRenewal) // new connections may find a primary
	}
	s.health.failed(v.kind, v.code, unavailable)
	return unavailable
}

// wake puts a value into a channel that holds one.
func wake(channel chan<- struct{}) {
	select {
	case channel <- struct{}{}:
	default: // the last one is not handled yet
	}
}
