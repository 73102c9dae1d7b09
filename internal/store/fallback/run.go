// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

const (
	checkEvery   = 250 * time.Millisecond // the database
	shareEvery   = time.Second            // locks with other replicas
	declareEvery = 2 * time.Second        // the cluster accounts
	shareTimeout = 10 * time.Second       // for one round of sharing
	lastMerge    = 3 * time.Second        // for the merge at the end of the process

	// mostShared is the largest number of locks that are written into statuses at once: an attack on many accounts must not
	// become one on the API server.
	mostShared = 10
)

// Run begins and ends the fallback until ctx ends, and returns nil.
func (s *Store) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	if !s.NoFallback {
		parts.Go(func() { every(ctx, checkEvery, s.check) })
		parts.Go(func() { every(ctx, declareEvery, s.declare) })
		parts.Go(func() { every(ctx, shareEvery, s.share) })
	}
	parts.Wait()

	// Merge what can be merged, before the process ends.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastMerge)
	defer cancel()
	s.check(last)
	return nil
}

// every calls do now and after each pause, until ctx ends.
func every(ctx context.Context, pause time.Duration, do func(context.Context)) {
	for {
		do(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// learned has the fallback learn what the cache read. The table may be readable while the fallback decides.
func (s *Store) learned(accounts map[string]user.Observed) {
	if o := s.latest(); o != nil {
		o.learn(accounts)
	}
}

// check begins the fallback if no attempt did, and ends it when the database is available again.
func (s *Store) check(ctx context.Context) {
	if s.Database.Health().Unavailable {
		s.begin(ctx)
		return
	}
	var err error
	if s.Active() {
		err = s.end(ctx)
	}
	if err == nil {
		err = s.mergeRecords(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.notMerged = ""
	case ctx.Err() == nil && err.Error() != s.notMerged:
		s.notMerged = err.Error()
		s.Log.Warn("Cannot merge the fallback logins into the database yet", "error", s.notMerged)
	}
}

// begin begins the fallback if the database is unavailable and the accounts are known. It reports whether the fallback
// decides.
func (s *Store) begin(ctx context.Context) bool {
	if s.NoFallback {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.offline != nil:
		return true
	case !s.Database.Health().Unavailable:
		return false
	case s.lastOffline() != nil:
		s.last.learn(s.Cache.All())
		s.start(ctx, s.last, "the previous fallback")
	case s.Cache.Complete():
		s.start(ctx, newOffline(s.Cache.All(), s.Cache.Clock()), "the account cache")
	}
	return s.offline != nil
}

// start is called with the lock held.
func (s *Store) start(ctx context.Context, o *offline, from string) {
	s.offline, s.last = o, nil
	for c := range s.calls {
		c.abandonSoon()
	}
	s.records = slices.DeleteFunc(s.records, func(other *offline) bool { return other == o })
	s.Log.Warn("The database is unavailable; logins use the fallback", "from", from)
	s.Announce(ctx, true)
}

// declare begins the fallback with the cluster accounts if the database was never available since the start, and keeps it
// up to date with them.
func (s *Store) declare(ctx context.Context) {
	if !s.Database.Health().Unavailable || s.Cache.Complete() {
		return
	}
	accounts, err := s.Cluster.Accounts(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.Log.Debug("Cannot list the accounts that the cluster declares", "error", err.Error())
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.Database.Health().Unavailable || s.Cache.Complete() { // it may have changed
		return
	}
	if s.offline == nil {
		o := s.lastOffline()
		if o == nil {
			o = newOffline(nil, s.Cache.Clock())
		}
		o.learn(s.Cache.All()) // the accounts that were read so far
		s.start(ctx, o, "the cluster's resources and Secrets")
	}
	s.offline.declare(accounts)
}

// share publishes the locks of the fallback in the statuses, and takes over those of other replicas.
func (s *Store) share(ctx context.Context) {
	o := s.current()
	if o == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, shareTimeout) // the API server may be unavailable as well
	defer cancel()
	locks, err := s.Cluster.Locks(ctx)
	for username, until := range locks {
		o.raise(username, until)
	}
	unpublished, failed := o.unpublished(ctx, mostShared)
	for username, observed := range unpublished {
		if failed = s.Cluster.PublishLock(ctx, username, observed); failed != nil {
			break // most likely for the others too; the next round retries
		}
		o.publishedLock(username, *observed.Row)
	}
	for _, err := range []error{err, failed} {
		if err != nil && ctx.Err() == nil {
			s.Log.Debug("Cannot share a lock with other replicas", "error", err.Error())
		}
	}
}
