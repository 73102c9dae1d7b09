// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// snapshotSize is the largest number of accounts that are read at once.
const snapshotSize = 1000

// Database is where the accounts come from. Package store describes the methods.
type Database interface {
	Observe(ctx context.Context, username string) (user.Observed, error)

	// Snapshot is Observe for many usernames at once, at most 1,000.
	Snapshot(ctx context.Context, usernames []string) (map[string]user.Observed, error)
	Watch(ctx context.Context, changed func(usernames []string), recovered func())
	Health() store.Health
}

// Options configure a Cache.
type Options struct {
	Database Database

	// Size is the largest number of accounts in the cache.
	Size int

	Registry prometheus.Registerer
	Now      func() time.Time
}

// Cache holds what the database said of accounts, and what the logins of this process changed since then. It is safe for
// concurrent use. [Cache.Run] keeps it up to date.
type Cache struct {
	database Database
	now      func() time.Time
	size     int
	follow   func(map[string]user.Observed) // nil where nobody follows

	mu       sync.Mutex
	accounts *lru.Cache[string, user.Observed]
	stale    map[string]uint64 // usernames to be read again, each with its latest mark
	marks    uint64            // the number of marks so far
	waiting  []chan struct{}   // of Refreshed
	notified bool              // Watch has reported all rows
	filled   bool              // and all of them were read
	skew     time.Duration     // the database's clock minus ours
	wake     chan struct{}     // holds one when there may be something stale
}

// New returns an empty Cache and registers its metric. The error is that of the registry.
func New(options Options) (*Cache, error) {
	c := newCache(options)
	return c, options.Registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shardinguser_login_accounts",
		Help: "Accounts in the account cache of this replica.",
	}, func() float64 { return float64(c.accounts.Len()) }))
}

func newCache(options Options) *Cache {
	size := max(1, options.Size)
	accounts, err := lru.New[string, user.Observed](size)
	if err != nil {
		panic(err) // only for sizes below one
	}
	return &Cache{
		database: options.Database, now: options.Now, size: size, accounts: accounts, stale: map[string]uint64{},
		wake: make(chan struct{}, 1),
	}
}

// Follow makes the cache call learn with the accounts that it reads from the database. It must be called before Run.
func (c *Cache) Follow(learn func(map[string]user.Observed)) { c.follow = learn }

// Observe returns an account from the cache, or from the database where the cache may be out of date. Its errors are those
// of the database.
func (c *Cache) Observe(ctx context.Context, username string) (user.Observed, error) {
	if c.database.Health().Current {
		if observed, ok := c.get(username); ok {
			return observed, nil
		}
	}
	observed, err := c.database.Observe(ctx, username)
	if err == nil && observed.Row != nil {
		c.want(username)
	}
	return observed, err
}

// get returns an account that is in the cache and not stale.
func (c *Cache) get(username string) (user.Observed, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, stale := c.stale[username]; stale || !c.filled {
		return user.Observed{}, false
	}
	observed, ok := c.accounts.Get(username)
	observed.Now = c.now().Add(c.skew)
	return observed, ok
}

// Invalidate marks accounts that may have changed.
func (c *Cache) Invalidate(usernames ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mark(usernames...)
}

// Refreshed returns a channel that is closed when all accounts were read that are stale now.
func (c *Cache) Refreshed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	done := make(chan struct{})
	c.waiting = append(c.waiting, done)
	c.mark() // so that they are
	return done
}

// watched marks accounts that Watch reported. A call without usernames says that all rows were reported. Of a table that
// is larger than the cache, only accounts are marked that are in the cache or fit into it.
func (c *Cache) watched(usernames []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(usernames) == 0 {
		c.notified = true
	}
	if c.filled && len(usernames) <= snapshotSize { // single changes may replace older accounts
		c.mark(usernames...)
		return
	}
	for _, username := range usernames {
		if _, stale := c.stale[username]; stale || c.accounts.Contains(username) || c.accounts.Len()+len(c.stale) < c.size {
			c.mark(username)
		}
	}
	c.mark() // the end of the rows ends the filling
}

// want marks an account that is not in the cache.
func (c *Cache) want(username string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, stale := c.stale[username]; !stale && !c.accounts.Contains(username) {
		c.mark(username)
	}
}

// mark is called with the lock held.
func (c *Cache) mark(usernames ...string) {
	for _, username := range usernames {
		c.marks++
		c.stale[username] = c.marks
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Complete reports whether all accounts of the table were read, up to the bound.
func (c *Cache) Complete() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.filled
}

// Clock returns the database's clock, as far as it is known.
func (c *Cache) Clock() func() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	skew := c.skew
	return func() time.Time { return c.now().Add(skew) }
}

// All returns the accounts in the cache, stale ones too.
func (c *Cache) All() map[string]user.Observed {
	c.mu.Lock()
	defer c.mu.Unlock()
	accounts := make(map[string]user.Observed, c.accounts.Len())
	for _, username := range c.accounts.Keys() {
		accounts[username], _ = c.accounts.Peek(username)
	}
	return accounts
}

// refresh reads all that is stale. It ends at the first error of the database.
func (c *Cache) refresh(ctx context.Context) error {
	c.mu.Lock()
	marked, notified, waiting := maps.Clone(c.stale), c.notified, len(c.waiting)
	c.mu.Unlock()
	for part := range slices.Chunk(slices.Collect(maps.Keys(marked)), snapshotSize) {
		read, err := c.database.Snapshot(ctx, part)
		if err != nil {
			return err
		}
		c.put(read, marked)
		if c.follow != nil {
			c.follow(read)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.filled = c.filled || notified
	for _, done := range c.waiting[:waiting] {
		close(done)
	}
	c.waiting = slices.Clone(c.waiting[waiting:])
	return nil
}

// put stores what was read after these marks were made. An account that was marked again meanwhile stays stale: the cache
// may know better than what was read.
func (c *Cache) put(read map[string]user.Observed, marked map[string]uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for username, observed := range read {
		c.skew = observed.Now.Sub(c.now())
		if c.stale[username] == marked[username] {
			delete(c.stale, username)
		} else if c.accounts.Contains(username) {
			continue
		}
		if observed.Row == nil && observed.Ownership == nil {
			c.accounts.Remove(username)
		} else {
			c.accounts.Add(username, withoutDigest(observed))
		}
	}
}

// withoutDigest returns the account without its password digest, which no login needs.
func withoutDigest(observed user.Observed) user.Observed {
	if observed.Ownership == nil || observed.Ownership.PasswordDigest == "" {
		return observed
	}
	own := *observed.Ownership
	own.PasswordDigest = ""
	observed.Ownership = &own
	return observed
}
