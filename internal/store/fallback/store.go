// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/cache"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Database is the database as logins use it. Package store describes the methods.
type Database interface {
	Observe(ctx context.Context, username string) (user.Observed, error)
	Charge(ctx context.Context, attempt store.Attempt, limits store.Limits) (store.Charge, error)
	Settle(ctx context.Context, charged store.Charge, success bool) (accepted bool, err error)
	Merge(ctx context.Context, batch store.OfflineBatch, limits store.Limits) error
	Health() store.Health
}

// Cluster returns what the resources, their Secrets and their statuses say of accounts.
type Cluster interface {
	// Accounts returns the cluster accounts by username, as far as they are known without a database.
	Accounts(ctx context.Context) (map[string]user.Observed, error)

	// Locks returns the locks that the statuses report, by username.
	Locks(ctx context.Context) (map[string]time.Time, error)

	// PublishLock writes the lock of an account into the status of its resource, if there is one.
	PublishLock(ctx context.Context, username string, locked user.Observed) error
}

// Options configure a Store.
type Options struct {
	Database Database
	Cache    *cache.Cache // of the same database
	Cluster  Cluster
	Limits   store.Limits

	// Attempts is the number of failures during one fallback that locks an account on this replica; 0 leaves it to Limits.
	// Failures from before the fallback count as well.
	Attempts int

	// NoFallback turns the fallback off: while the database is unavailable, attempts fail.
	NoFallback bool

	// Announce is called when the fallback begins and when it has ended.
	Announce func(ctx context.Context, active bool)

	Registry prometheus.Registerer
	Log      *slog.Logger
}

// Store decides logins by the database or by the fallback. It is safe for concurrent use. [Store.Run] and that of the cache
// have to run.
type Store struct {
	Options
	metrics *metrics

	mu      sync.Mutex
	offline *offline      // nil while the database decides
	ending  chan struct{} // nil unless the fallback is about to end; closed once new attempts may continue

	// last is the fallback that ended last, until the cache has what was merged. If the database becomes unavailable again
	// before that, the same fallback continues.
	last       *offline
	lastCached <-chan struct{} // closed once the cache has it

	records   []*offline // that ended, and whose audit rows are not merged yet
	notMerged string     // why the last merge failed, as it was logged
	watchers  map[*watcher]struct{}
	calls     map[*call]struct{} // calls to the database for which a login waits
}

// New returns a Store that passes attempts to the database. The error is that of the registry.
func New(options Options) (*Store, error) {
	s := &Store{
		Options: options, watchers: map[*watcher]struct{}{}, calls: map[*call]struct{}{},
	}
	options.Cache.Follow(s.learned)
	var err error
	s.metrics, err = newMetrics(options.Registry, s)
	return s, err
}

// Observe returns an account as it is now or, while the database is unavailable, as the fallback has it. Its errors are
// those of the database.
func (s *Store) Observe(ctx context.Context, username string) (user.Observed, error) {
	if observed, ok, err := s.observeOffline(ctx, username); ok {
		return observed, err
	}
	observed, err := s.Cache.Observe(ctx, username)
	if errors.Is(err, store.ErrUnavailable) && s.begin(ctx) {
		if observed, ok, err := s.observeOffline(ctx, username); ok {
			return observed, err
		}
	}
	return observed, err
}

// Charge charges an attempt or rejects it, as package store describes. Its errors are those of the database.
func (s *Store) Charge(ctx context.Context, attempt store.Attempt, limits store.Limits) (store.Charge, error) {
	if charged, ok, err := s.chargeOffline(ctx, attempt, limits); ok {
		return charged, err
	}
	limited, done := s.untilOffline(ctx)
	charged, err := s.Database.Charge(limited, attempt, limits)
	if err = done(err); err == nil {
		s.Cache.Charged(charged)
		if o := s.latest(); o != nil { // it began during this call, or may continue
			o.charged(charged)
		}
		return charged, nil
	}
	var unavailable *store.UnavailableError
	if errors.As(err, &unavailable) && unavailable.Unsent && s.begin(ctx) {
		if charged, ok, err := s.chargeOffline(ctx, attempt, limits); ok {
			return charged, err
		}
	}
	return store.Charge{}, err
}

// Settle settles an attempt where it was charged. Its errors are those of the database.
func (s *Store) Settle(ctx context.Context, charged store.Charge, success bool) (accepted bool, err error) {
	if charged.Fallback {
		o := s.current()
		if o == nil {
			return false, nil // later than store.PendingTime: it was merged as a failure
		}
		return o.settle(ctx, charged, success)
	}
	if success {
		limited, done := s.untilOffline(ctx)
		accepted, err = s.Database.Settle(limited, charged, success)
		err = done(err)
	} else { // no login waits for it
		accepted, err = s.Database.Settle(ctx, charged, success)
	}
	if err == nil && accepted {
		s.Cache.Succeeded(charged)
	}
	return accepted, err
}

// Active reports whether the fallback decides attempts.
func (s *Store) Active() bool { return s.current() != nil }

// current returns the fallback that decides; nil while the database does.
func (s *Store) current() *offline {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offline
}

// latest returns the fallback that decides, or the last one while it may continue; nil where there is neither.
func (s *Store) latest() *offline {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.offline == nil {
		return s.lastOffline()
	}
	return s.offline
}

// lastOffline returns the last fallback while it may continue. It is called with the lock held.
func (s *Store) lastOffline() *offline {
	if s.last == nil {
		return nil
	}
	select {
	case <-s.lastCached:
		s.last = nil
	default:
	}
	return s.last
}

func (s *Store) observeOffline(ctx context.Context, username string) (observed user.Observed, ok bool, err error) {
	o := s.current()
	if o == nil {
		return user.Observed{}, false, nil
	}
	observed, err = o.store.Observe(ctx, username)
	return observed, true, err
}

// chargeOffline charges by the fallback, if it decides. If it is about to end, the attempt waits for that.
func (s *Store) chargeOffline(ctx context.Context, attempt store.Attempt, limits store.Limits) (charged store.Charge, ok bool, err error) {
	for {
		s.mu.Lock()
		ending := s.ending
		if s.offline == nil || ending == nil {
			break
		}
		s.mu.Unlock()
		select {
		case <-ending:
		case <-ctx.Done():
			return store.Charge{}, true, ctx.Err()
		}
	}
	defer s.mu.Unlock()
	if s.offline == nil {
		return store.Charge{}, false, nil
	}
	charged, err = s.offline.charge(ctx, attempt, limits, s.Attempts)
	return charged, true, err
}
