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

// Primary is the database. Package store says what it promises.
type Primary interface {
	Observe(ctx context.Context, username string) (user.Observed, error)
	Charge(ctx context.Context, attempt store.Attempt, limits store.Limits) (store.Charge, error)
	Settle(ctx context.Context, charged store.Charge, success bool) (accepted bool, err error)
	Merge(ctx context.Context, outage store.OfflineBatch, limits store.Limits) error

	Health() store.Health
}

// Cluster is what the resources say of accounts, with their Secrets and statuses.
type Cluster interface {
	// Accounts is the accounts that are declared, by username, as far as they are known without a database.
	Accounts(ctx context.Context) (map[string]user.Observed, error)

	// Locks is the locks that the statuses tell of, by username.
	Locks(ctx context.Context) (map[string]time.Time, error)

	// PublishLock writes an account's lock into the status of its resource, if it has one.
	PublishLock(ctx context.Context, username string, locked user.Observed) error
}

// Options is what a Mirror works with and by.
type Options struct {
	Primary Primary
	Cache   *cache.Cache // of the same database
	Cluster Cluster
	Limits  store.Limits

	// Attempts is how many failures this replica alone counts in an outage before it locks; 0 is as many as ever. However
	// many it is, the failures from before the outage count as well.
	Attempts int

	// NoFallback turns the deciding from memory off: while the database is away, nothing is decided.
	NoFallback bool

	// Announce is called when an outage begins, and when it ended.
	Announce func(ctx context.Context, active bool)

	Registry prometheus.Registerer
	Log      *slog.Logger
}

// Mirror answers for the database. It may be used by any number of goroutines. [Mirror.Run] has to run beside it.
type Mirror struct {
	Options
	metrics *metrics

	mu     sync.Mutex
	outage *outage       // nil while the database decides
	ending chan struct{} // nil unless the outage is about to end; closed once new attempts need not wait for that any more

	// last is an outage that ended just now, until the cache knows what was merged; nil else. If the database becomes
	// unavailable again before that, it goes on.
	last       *outage
	lastCached <-chan struct{} // closed once the cache knows

	records   []*outage // that ended, and whose record of attempts is not merged yet
	notMerged string    // why what happened cannot be merged, as it was logged
	watchers  map[*watcher]struct{}
	calls     map[*call]struct{} // to the database, for which a login waits
}

// New returns a Mirror that knows nothing yet. The error is that of metrics that are there already.
func New(options Options) (*Mirror, error) {
	m := &Mirror{
		Options: options, watchers: map[*watcher]struct{}{}, calls: map[*call]struct{}{},
	}
	options.Cache.Follow(m.learned)
	var err error
	m.metrics, err = newMetrics(options.Registry, m)
	return m, err
}

// Observe tells of an account what is true now or, while the database is away, what was last known. Its errors are the
// database's.
func (m *Mirror) Observe(ctx context.Context, username string) (user.Observed, error) {
	if observed, ok, err := m.observeOutage(ctx, username); ok {
		return observed, err
	}
	observed, err := m.Cache.Observe(ctx, username)
	if errors.Is(err, store.ErrUnavailable) && m.begin(ctx) {
		if observed, ok, err := m.observeOutage(ctx, username); ok {
			return observed, err
		}
	}
	return observed, err
}

// Charge charges an attempt, or refuses it, as package store says. Its errors are the database's.
func (m *Mirror) Charge(ctx context.Context, attempt store.Attempt, limits store.Limits) (store.Charge, error) {
	if charged, ok, err := m.chargeOutage(ctx, attempt, limits); ok {
		return charged, err
	}
	limited, done := m.untilOutage(ctx)
	charged, err := m.Primary.Charge(limited, attempt, limits)
	if err = done(err); err == nil {
		m.Cache.Charged(charged)
		if o := m.latest(); o != nil { // it began while this was under way, or may go on
			o.charged(charged)
		}
		return charged, nil
	}
	var unavailable *store.UnavailableError
	if errors.As(err, &unavailable) && unavailable.Unsent && m.begin(ctx) {
		if charged, ok, err := m.chargeOutage(ctx, attempt, limits); ok {
			return charged, err
		}
	}
	return store.Charge{}, err
}

// Settle says how a charged attempt ended, there where it was charged. Its errors are the database's.
func (m *Mirror) Settle(ctx context.Context, charged store.Charge, success bool) (accepted bool, err error) {
	if charged.Fallback {
		o := m.current()
		if o == nil {
			return false, nil // it took longer than anybody waits: it has been merged as a failure
		}
		return o.settle(ctx, charged, success)
	}
	if success {
		limited, done := m.untilOutage(ctx)
		accepted, err = m.Primary.Settle(limited, charged, success)
		err = done(err)
	} else { // nobody waits for it
		accepted, err = m.Primary.Settle(ctx, charged, success)
	}
	if err == nil && accepted {
		m.Cache.Succeeded(charged)
	}
	return accepted, err
}

// Active tells whether attempts are decided from memory.
func (m *Mirror) Active() bool { return m.current() != nil }

// current is the outage; nil while the database decides.
func (m *Mirror) current() *outage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.outage
}

// latest is the outage, or the last one as long as it may go on; nil where there is neither.
func (m *Mirror) latest() *outage {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.outage == nil {
		return m.lastOutage()
	}
	return m.outage
}

// lastOutage returns the last outage as long as it may go on. It is called with the lock held.
func (m *Mirror) lastOutage() *outage {
	if m.last == nil {
		return nil
	}
	select {
	case <-m.lastCached:
		m.last = nil
	default:
	}
	return m.last
}

func (m *Mirror) observeOutage(ctx context.Context, username string) (observed user.Observed, ok bool, err error) {
	o := m.current()
	if o == nil {
		return user.Observed{}, false, nil
	}
	observed, err = o.store.Observe(ctx, username)
	return observed, true, err
}

// chargeOutage charges in the outage, if there is one. One that is about to end is waited for.
func (m *Mirror) chargeOutage(ctx context.Context, attempt store.Attempt, limits store.Limits) (charged store.Charge, ok bool, err error) {
	for {
		m.mu.Lock()
		ending := m.ending
		if m.outage == nil || ending == nil {
			break
		}
		m.mu.Unlock()
		select {
		case <-ending:
		case <-ctx.Done():
			return store.Charge{}, true, ctx.Err()
		}
	}
	defer m.mu.Unlock()
	if m.outage == nil {
		return store.Charge{}, false, nil
	}
	charged, err = m.outage.charge(ctx, attempt, limits, m.Attempts)
	return charged, true, err
}
