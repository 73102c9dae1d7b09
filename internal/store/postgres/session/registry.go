// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Registry records where each connection of a store leads. A renewal makes all of them stale. Then nothing relies on
// notifications until the new connections lead to one database.
type Registry struct {
	identifier identifier
	drops      atomic.Bool // a pooler does not pass the search path on

	mu         sync.Mutex
	generation uint64        // number of renewals
	renewed    chan struct{} // closed by the next renewal
	renewedAt  time.Time
	wait       time.Duration // until the next renewal may happen
	pool       map[*pgconn.PgConn]*Session
	listening  *Session
	probes     []*Session // of the latest probe, which opens connections only to see where they lead
	agreed     bool       // since the latest renewal
	agreedAt   Identity   // where the sessions led when they agreed last
}

// Session is one connection.
type Session struct {
	generation uint64
	At         Identity
	Path       Path
	isUnfit    bool // it was opened before the pooler in between was known, see Fit
	staleSince time.Time
	wire       net.Conn // closing it ends any wait of the connection
}

// A renewal without success is repeated after firstRenewal, then after twice that, up to LastRenewal. ReadOnlyRenewal is the limit
// where a server is read-only.
const (
	firstRenewal    = time.Second
	LastRenewal     = 30 * time.Second // where DSNs or a pooler lead to several databases permanently
	ReadOnlyRenewal = 4 * time.Second  // where a server is read-only: a primary is found within 10 s
	calm            = 10 * time.Second // of agreement, until the next renewal counts as the first
)

// NewRegistry returns a Registry without connections.
func NewRegistry() *Registry {
	return &Registry{renewed: make(chan struct{}), pool: map[*pgconn.PgConn]*Session{}}
}

// Renewals returns the number of renewals so far.
func (r *Registry) Renewals() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.generation
}

// Generation returns the current generation, and a channel that is closed when it ends.
func (r *Registry) Generation() (generation uint64, renewed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.generation, r.renewed
}

// Identify returns the session of a connection that was opened in this generation with this configuration.
func (r *Registry) Identify(
	ctx context.Context, conn *pgconn.PgConn, config *pgx.ConnConfig, generation uint64, limit time.Duration,
) (*Session, error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	path, err := Settle(limited, conn, config)
	if err != nil {
		return nil, err
	}
	at, err := r.identifier.identify(limited, conn, path)
	return &Session{generation: generation, At: at, Path: path, wire: conn.Conn()}, err
}

// Fit adapts a configuration to the pooler in between. A pooler that does not pass the search path on may prepare a statement by one path and execute it by another.
func (r *Registry) Fit(config *pgx.ConnConfig) {
	if r.drops.Load() && config.DefaultQueryExecMode != pgx.QueryExecModeSimpleProtocol {
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
}

// Add registers a connection of the pool.
func (r *Registry) Add(conn *pgconn.PgConn, added *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if added.Path.IsDropped {
		r.drops.Store(true)
		added.isUnfit = added.Path.prepares
	}
	r.pool[conn] = added
	r.mark(added)
	r.agreed = r.agreed && added.staleSince.IsZero() && (!added.At.IsKnown() || !r.agreedAt.IsKnown() || r.agreedAt.agrees(added.At))
}

// Remove unregisters a connection of the pool.
func (r *Registry) Remove(conn *pgconn.PgConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pool, conn)
}

// Listen registers the listening connection; nil means that there is none.
func (r *Registry) Listen(listening *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listening = listening
	if listening == nil {
		return
	}
	r.mark(listening)
	isFirst := !r.agreedAt.IsKnown() && r.generation == 0 && !r.isAnyStale() // no session left another database, so nothing waits for compare
	r.agreed = (r.agreed || isFirst) && listening.staleSince.IsZero() && r.disagreement() == nil
}

// SetProbes registers the connections of the latest probe.
func (r *Registry) SetProbes(probes []*Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.probes = probes
}

// IsStale returns whether a connection of the pool has to be replaced.
func (r *Registry) IsStale(conn *pgconn.PgConn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, ok := r.pool[conn]
	return !ok || found.generation != r.generation || found.isUnfit
}

// Of returns the session of a connection of the pool, and the zero value where there is none.
func (r *Registry) Of(conn *pgconn.PgConn) Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	if found, ok := r.pool[conn]; ok {
		return *found
	}
	return Session{}
}

// mark records since when a session is stale. It is called with the lock held.
func (r *Registry) mark(marked *Session) {
	if marked != nil && marked.generation != r.generation && marked.staleSince.IsZero() {
		marked.staleSince = time.Now()
	}
}

// Renew makes all sessions stale, unless the latest renewal is too recent. No renewal older than most is.
func (r *Registry) Renew(most time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	since := time.Since(r.renewedAt)
	switch {
	case most == 0 || (r.agreed && since > calm):
		r.wait = firstRenewal
	case since < min(r.wait, most):
		return false
	default:
		r.wait = min(2*r.wait, LastRenewal)
	}
	r.generation++
	r.renewedAt, r.agreed, r.probes = time.Now(), false, nil
	close(r.renewed)
	r.renewed = make(chan struct{})
	for _, pooled := range r.pool {
		r.mark(pooled)
	}
	r.mark(r.listening)
	return true
}

// HasStale returns whether the pool has connections to be replaced.
func (r *Registry) HasStale() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.isAnyStale()
}

// isAnyStale is called with the lock held.
func (r *Registry) isAnyStale() bool {
	for _, pooled := range r.pool {
		if pooled.generation != r.generation {
			return true
		}
	}
	return false
}

// EndOld closes sessions that have been stale for this long: calls that use them have reached their limit.
func (r *Registry) EndOld(after time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	isOld := func(old *Session) bool { return !old.staleSince.IsZero() && time.Since(old.staleSince) > after }
	for conn, pooled := range r.pool {
		if isOld(pooled) {
			_ = pooled.wire.Close()
			delete(r.pool, conn) // isStale is true of what is not registered
		}
	}
	if r.listening != nil && isOld(r.listening) {
		_ = r.listening.wire.Close()
	}
}

// IsAgreed reports whether all sessions lead to one database.
func (r *Registry) IsAgreed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.agreed
}

// disagreement returns two databases to which current sessions lead; nil where all lead to one. It is called with the lock held.
func (r *Registry) disagreement() *[2]Identity {
	var first Identity
	for _, current := range r.current() {
		switch {
		case !current.At.IsKnown():
		case !first.IsKnown():
			first = current.At
		case !first.agrees(current.At):
			return &[2]Identity{first, current.At}
		}
	}
	// Only the pool has the search path, by which the table users is found.
	var users Identity
	for _, pooled := range r.pool {
		if pooled.generation == r.generation && pooled.At.users != 0 {
			if users.IsKnown() && !users.Meets(pooled.At) {
				return &[2]Identity{users, pooled.At}
			}
			users = pooled.At
		}
	}
	return nil
}

// current lists the sessions of this generation. It is called with the lock held.
func (r *Registry) current() []*Session {
	var current []*Session
	add := func(candidate *Session) {
		if candidate != nil && candidate.generation == r.generation {
			current = append(current, candidate)
		}
	}
	for _, pooled := range r.pool {
		add(pooled)
	}
	add(r.listening)
	for _, probe := range r.probes {
		add(probe)
	}
	return current
}

// Agreement is the result of a comparison of all sessions.
type Agreement int

// The results of a comparison.
const (
	Undecided   Agreement = iota // sessions are still to be replaced
	Agreeing                     // as before
	Moved                        // all lead to another server of the same database
	MovedAway                    // all lead to another database
	Disagreeing                  // they have to be renewed
)

// Compare reports whether the sessions agree.
func (r *Registry) Compare() Agreement {
	r.mu.Lock()
	defer r.mu.Unlock()
	current := r.current()
	if r.disagreement() != nil {
		r.agreed = false
		return Disagreeing
	}
	isListeningStale := r.listening != nil && r.listening.generation != r.generation
	if isListeningStale || r.isAnyStale() || len(current) == 0 {
		r.agreed = false
		return Undecided
	}
	r.agreed = true
	before := r.agreedAt
	for _, known := range current {
		if known.At.IsKnown() {
			r.agreedAt = known.At
		}
	}
	switch {
	case !before.IsKnown() || before.agrees(r.agreedAt):
		return Agreeing
	case before.isSameDatabase(r.agreedAt):
		return Moved
	}
	return MovedAway
}

// Ask asks where a connection of the pool leads.
func (r *Registry) Ask(ctx context.Context, conn *pgconn.PgConn) (Identity, error) {
	return r.identifier.identify(ctx, conn, r.Of(conn).Path)
}
