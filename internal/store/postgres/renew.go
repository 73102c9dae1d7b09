// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/backoff"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/session"
)

// All sessions of a store have to lead to one database. The pool and the listening connection are renewed together when
//
//   - the text of a DSN changes. Where only the credential is new, the renewal waits until the server accepts it;
//   - a connection leads to another server or database than the others. A probe opens one every timing.compare, since an
//     address may have moved while the former server still runs;
//   - a server is read-only.
//
// After a renewal, Health.Current is false until all sessions agree.

// dsnDigests are the digests of DSN and ListenDSN; zero where one is invalid and so names no database.
type dsnDigests struct {
	texts   [2][sha256.Size]byte
	targets [2][sha256.Size]byte // of the DSNs without their credentials
}

func digestDSNs(settings Settings) dsnDigests {
	var d dsnDigests
	for i, source := range []DSNSource{settings.DSN, settings.ListenDSN} {
		dsn, err := read(source)
		if err != nil {
			continue
		}
		if config, err := understand(dsn); err == nil {
			d.texts[i], d.targets[i] = sha256.Sum256([]byte(dsn)), targetOf(config.ConnConfig)
		}
	}
	return d
}

// targetOf is a digest of the addresses, the database and the parameters of a DSN.
func targetOf(config *pgx.ConnConfig) [sha256.Size]byte {
	target := fmt.Sprintf("%q %q %q", config.Host, config.Database, config.RuntimeParams) // maps are printed in order
	target += fmt.Sprintf(" %d", config.Port)
	for _, fallback := range config.Fallbacks {
		target += fmt.Sprintf(" %q %d", fallback.Host, fallback.Port)
	}
	return sha256.Sum256([]byte(target))
}

// renewal is the state of the goroutine that keeps the sessions in one database.
type renewal struct {
	dsns     dsnDigests // with which the sessions were opened
	probedAt time.Time
	triedAt  time.Time // when a new credential was tried last
	attempts int       // renewals since the sessions agreed last
}

// retryCredential limits how often a rejected credential causes a line in the log of the server.
const retryCredential = 3 * time.Second

// keepOneDatabase keeps all sessions in one database until ctx ends.
func (s *Store) keepOneDatabase(ctx context.Context) {
	r := renewal{dsns: s.opened}
	for {
		s.followDSN(ctx, &r)
		if time.Since(r.probedAt) >= s.timing.compare && !s.isBusy() {
			s.locate(ctx)
			r.probedAt = time.Now()
		}
		s.compareSessions(ctx, &r)
		if !backoff.Pause(ctx, s.settings.CheckInterval) {
			return
		}
	}
}

// followDSN renews all sessions where the text of a DSN changed.
func (s *Store) followDSN(ctx context.Context, r *renewal) {
	dsns := digestDSNs(s.settings)
	changed, isElsewhere := false, false
	for i, text := range dsns.texts {
		if text == ([sha256.Size]byte{}) {
			dsns.texts[i], dsns.targets[i] = r.dsns.texts[i], r.dsns.targets[i]
			continue
		}
		changed = changed || text != r.dsns.texts[i]
		isElsewhere = isElsewhere || dsns.targets[i] != r.dsns.targets[i]
	}
	if !changed {
		return
	}
	if !isElsewhere {
		if time.Since(r.triedAt) < retryCredential {
			return
		}
		r.triedAt = time.Now()
		if !s.locate(ctx) {
			return // existing sessions continue until the server accepts the new credential
		}
	}
	r.dsns, r.attempts = dsns, 0
	s.sessions.Renew(0)
	s.pool.Reset()
	s.settings.Log.Debug("The DSN changed; all connections are renewed")
}

// renew renews all sessions, unless the latest renewal is too recent. No renewal older than most is.
func (s *Store) renew(most time.Duration) bool {
	if !s.sessions.Renew(most) {
		return false
	}
	s.pool.Reset()
	return true
}

// locate opens a connection by each DSN to find out where it leads now. It reports whether that succeeded.
func (s *Store) locate(ctx context.Context) bool {
	sources := []DSNSource{s.settings.DSN}
	if s.settings.listensElsewhere {
		sources = append(sources, s.settings.ListenDSN)
	}
	var probes []*session.Session
	for _, source := range sources {
		if found := s.locateOne(ctx, source); found != nil {
			probes = append(probes, found)
		}
	}
	s.sessions.SetProbes(probes)
	return len(probes) == len(sources)
}

func (s *Store) locateOne(ctx context.Context, source DSNSource) *session.Session {
	generation := s.sessions.Renewals()
	config, err := connConfig(source)
	if err != nil {
		return nil
	}
	limited, cancel := s.limitLook(ctx, config)
	defer cancel()
	conn, err := pgx.ConnectConfig(limited, config)
	if err != nil {
		return nil // checks report the reason
	}
	defer hangUp(ctx, conn)
	found, err := s.sessions.Identify(limited, conn.PgConn(), config, generation, s.timing.look)
	if err != nil {
		return nil
	}
	return found
}

// compareSessions ends stale sessions, and renews all of them where they disagree.
func (s *Store) compareSessions(ctx context.Context, r *renewal) {
	if s.sessions.HasStale() {
		for _, idle := range s.pool.AcquireAllIdle(ctx) { // this closes those that are stale
			idle.Release()
		}
	}
	s.sessions.EndOld(s.settings.StatementTimeout)
	switch s.sessions.Compare() {
	case session.Undecided:
		return
	case session.Disagreeing:
		const many = 3
		if !s.renew(session.LastRenewal) {
			return
		}
		if r.attempts++; r.attempts == many {
			s.settings.Log.Warn("The connections lead to different databases and are renewed until they lead to one; check where the "+
				"addresses of both DSNs lead", "attempts", r.attempts)
		}
		return
	case session.Moved:
		s.settings.Log.Info("All connections lead to another server of the database")
	case session.MovedAway:
		s.settings.Log.Info("All connections lead to another database; the operator checks every account there")
		wake(s.missing)     // its tables may be missing, or of an older version
		s.health.announce() // this database may accept what the former one rejected
	case session.Agreeing:
	}
	r.attempts = 0
}
