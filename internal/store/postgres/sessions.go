// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// sessions records where each connection of a store leads. A renewal makes all of them stale. Then nothing relies on
// notifications until the new connections lead to one database.
type sessions struct {
	identifier identifier
	drops      atomic.Bool // a pooler does not pass the search path on

	mu         sync.Mutex
	generation uint64        // number of renewals
	renewed    chan struct{} // closed by the next renewal
	renewedAt  time.Time
	wait       time.Duration // until the next renewal may happen
	pool       map[*pgconn.PgConn]*session
	listening  *session
	probes     []*session // of the latest probe, which opens connections only to see where they lead
	agreed     bool       // since the latest renewal
	agreedAt   identity   // where the sessions led when they agreed last
}

// session is one connection.
type session struct {
	generation uint64
	at         identity
	path       sessionPath
	isUnfit    bool // it was opened before the pooler in between was known, see fit
	staleSince time.Time
	wire       net.Conn // closing it ends any wait of the connection
}

// A renewal without success is repeated after firstRenewal, then after twice that, and so on.
const (
	firstRenewal    = time.Second
	lastRenewal     = 30 * time.Second // where DSNs or a pooler lead to several databases permanently
	readOnlyRenewal = 4 * time.Second  // where a server is read-only: a primary is found within 10 s
	calm            = 10 * time.Second // of agreement, until the next renewal counts as the first
)

func newSessions() *sessions {
	return &sessions{renewed: make(chan struct{}), pool: map[*pgconn.PgConn]*session{}}
}

func (s *sessions) now() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.generation
}

// generationNow returns the current generation, and a channel that is closed when it ends.
func (s *sessions) generationNow() (generation uint64, renewed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.generation, s.renewed
}

// identify returns the session of a connection that was opened in this generation with this configuration.
func (s *sessions) identify(
	ctx context.Context, conn *pgconn.PgConn, config *pgx.ConnConfig, generation uint64, limit time.Duration,
) (*session, error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	path, err := settlePath(limited, conn, config)
	if err != nil {
		return nil, err
	}
	at, err := s.identifier.identify(limited, conn, path)
	return &session{generation: generation, at: at, path: path, wire: conn.Conn()}, err
}

// fit adapts a configuration to the pooler in between. A pooler that does not pass the search path on may prepare a statement by one path and execute it by another.
func (s *sessions) fit(config *pgx.ConnConfig) {
	if s.drops.Load() && config.DefaultQueryExecMode != pgx.QueryExecModeSimpleProtocol {
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
}

// add registers a connection of the pool.
func (s *sessions) add(conn *pgconn.PgConn, added *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if added.path.isDropped {
		s.drops.Store(true)
		added.isUnfit = added.path.prepares
	}
	s.pool[conn] = added
	s.mark(added)
	s.agreed = s.agreed && added.staleSince.IsZero() && (!added.at.isKnown() || !s.agreedAt.isKnown() || s.agreedAt.agrees(added.at))
}

func (s *sessions) remove(conn *pgconn.PgConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pool, conn)
}

// listen registers the listening connection; nil means that there is none.
func (s *sessions) listen(listening *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listening = listening
	if listening == nil {
		return
	}
	s.mark(listening)
	isFirst := !s.agreedAt.isKnown() && s.generation == 0 && !s.isAnyStale() // no session left another database, so nothing waits for compare
	s.agreed = (s.agreed || isFirst) && listening.staleSince.IsZero() && s.disagreement() == nil
}

func (s *sessions) probed(probes []*session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probes = probes
}

// isStale returns whether a connection of the pool has to be replaced.
func (s *sessions) isStale(conn *pgconn.PgConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.pool[conn]
	return !ok || found.generation != s.generation || found.isUnfit
}

// of returns the session of a connection of the pool, and the zero value where there is none.
func (s *sessions) of(conn *pgconn.PgConn) session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found, ok := s.pool[conn]; ok {
		return *found
	}
	return session{}
}

// mark records since when a session is stale. It is called with the lock held.
func (s *sessions) mark(marked *session) {
	if marked != nil && marked.generation != s.generation && marked.staleSince.IsZero() {
		marked.staleSince = time.Now()
	}
}

// renew makes all sessions stale, unless the latest renewal is too recent. No renewal older than most is.
func (s *sessions) renew(most time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	since := time.Since(s.renewedAt)
	switch {
	case most == 0 || (s.agreed && since > calm):
		s.wait = firstRenewal
	case since < min(s.wait, most):
		return false
	default:
		s.wait = min(2*s.wait, lastRenewal)
	}
	s.generation++
	s.renewedAt, s.agreed, s.probes = time.Now(), false, nil
	close(s.renewed)
	s.renewed = make(chan struct{})
	for _, pooled := range s.pool {
		s.mark(pooled)
	}
	s.mark(s.listening)
	return true
}

// hasStale returns whether the pool has connections to be replaced.
func (s *sessions) hasStale() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isAnyStale()
}

// isAnyStale is called with the lock held.
func (s *sessions) isAnyStale() bool {
	for _, pooled := range s.pool {
		if pooled.generation != s.generation {
			return true
		}
	}
	return false
}

// endOld closes sessions that have been stale for this long: calls that use them have reached their limit.
func (s *sessions) endOld(after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	isOld := func(old *session) bool { return !old.staleSince.IsZero() && time.Since(old.staleSince) > after }
	for conn, pooled := range s.pool {
		if isOld(pooled) {
			_ = pooled.wire.Close()
			delete(s.pool, conn) // isStale is true of what is not registered
		}
	}
	if s.listening != nil && isOld(s.listening) {
		_ = s.listening.wire.Close()
	}
}

func (s *sessions) isAgreed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.agreed
}

// disagreement returns two databases to which current sessions lead; nil where all lead to one. It is called with the lock held.
func (s *sessions) disagreement() *[2]identity {
	var first identity
	for _, current := range s.current() {
		switch {
		case !current.at.isKnown():
		case !first.isKnown():
			first = current.at
		case !first.agrees(current.at):
			return &[2]identity{first, current.at}
		}
	}
	// Only the pool has the search path, by which the table users is found.
	var users identity
	for _, pooled := range s.pool {
		if pooled.generation == s.generation && pooled.at.users != 0 {
			if users.isKnown() && !users.meets(pooled.at) {
				return &[2]identity{users, pooled.at}
			}
			users = pooled.at
		}
	}
	return nil
}

// current lists the sessions of this generation. It is called with the lock held.
func (s *sessions) current() []*session {
	var current []*session
	add := func(candidate *session) {
		if candidate != nil && candidate.generation == s.generation {
			current = append(current, candidate)
		}
	}
	for _, pooled := range s.pool {
		add(pooled)
	}
	add(s.listening)
	for _, probe := range s.probes {
		add(probe)
	}
	return current
}

// agreement is the result of a comparison of all sessions.
type agreement int

const (
	undecided   agreement = iota // sessions are still to be replaced
	agreeing                     // as before
	moved                        // all lead to another server of the same database
	movedAway                    // all lead to another database
	disagreeing                  // they have to be renewed
)

// compare reports whether the sessions agree.
func (s *sessions) compare() agreement {
	s.mu.Lock()
	defer s.mu.Unlock()
	current := s.current()
	if s.disagreement() != nil {
		s.agreed = false
		return disagreeing
	}
	isListeningStale := s.listening != nil && s.listening.generation != s.generation
	if isListeningStale || s.isAnyStale() || len(current) == 0 {
		s.agreed = false
		return undecided
	}
	s.agreed = true
	before := s.agreedAt
	for _, known := range current {
		if known.at.isKnown() {
			s.agreedAt = known.at
		}
	}
	switch {
	case !before.isKnown() || before.agrees(s.agreedAt):
		return agreeing
	case before.isSameDatabase(s.agreedAt):
		return moved
	}
	return movedAway
}
