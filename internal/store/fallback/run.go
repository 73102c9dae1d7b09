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
	lookEvery    = 250 * time.Millisecond // whether the database is away, or back
	shareEvery   = time.Second            // locks, with other replicas
	declareEvery = 2 * time.Second        // what the cluster declares
	shareTimeout = 10 * time.Second       // that one round of it may take
	lastMerge    = 3 * time.Second        // that the last attempt to merge may take

	// mostShared is how many locks are written into statuses at once, so that an attack on many accounts does not become
	// one on the API server.
	mostShared = 10
)

// Run begins and ends outages until ctx ends, and returns nil.
func (m *Mirror) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	if !m.NoFallback {
		parts.Go(func() { every(ctx, lookEvery, m.look) })
		parts.Go(func() { every(ctx, declareEvery, m.declare) })
		parts.Go(func() { every(ctx, shareEvery, m.share) })
	}
	parts.Wait()

	// What can be merged is not to be lost with the process.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastMerge)
	defer cancel()
	m.look(last)
	return nil
}

// every calls do now, and again this long after it returned, until ctx ends.
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

// learned is called with what was read of the table, which during an outage may still be read.
func (m *Mirror) learned(accounts map[string]user.Observed) {
	if o := m.latest(); o != nil {
		o.learn(accounts)
	}
}

// look begins an outage that nobody's attempt has noticed, and ends one that is over.
func (m *Mirror) look(ctx context.Context) {
	if m.Primary.Health().Unavailable {
		m.begin(ctx)
		return
	}
	var err error
	if m.Active() {
		err = m.end(ctx)
	}
	if err == nil {
		err = m.mergeRecords(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err == nil:
		m.notMerged = ""
	case ctx.Err() == nil && err.Error() != m.notMerged:
		m.notMerged = err.Error()
		m.Log.Warn("Cannot merge the fallback logins into the database yet", "error", m.notMerged)
	}
}

// begin begins an outage, if the database is away and there is something to decide from. It tells whether there is one.
func (m *Mirror) begin(ctx context.Context) bool {
	if m.NoFallback {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.outage != nil:
		return true
	case !m.Primary.Health().Unavailable:
		return false
	case m.lastOutage() != nil:
		m.last.learn(m.Cache.All())
		m.start(ctx, m.last, "the previous outage")
	case m.Cache.Complete():
		m.start(ctx, newOutage(m.Cache.All(), m.Cache.Clock()), "the account cache")
	}
	return m.outage != nil
}

// start is called with the lock held.
func (m *Mirror) start(ctx context.Context, o *outage, from string) {
	m.outage, m.last = o, nil
	for c := range m.calls {
		c.abandonSoon()
	}
	m.records = slices.DeleteFunc(m.records, func(other *outage) bool { return other == o })
	m.Log.Warn("The database is unavailable; logins use the fallback", "from", from)
	m.Announce(ctx, true)
}

// declare begins an outage with what the cluster declares, where there was no database since the start, and keeps to it.
func (m *Mirror) declare(ctx context.Context) {
	if !m.Primary.Health().Unavailable || m.Cache.Complete() {
		return
	}
	accounts, err := m.Cluster.Accounts(ctx)
	if err != nil {
		if ctx.Err() == nil {
			m.Log.Debug("Cannot list the accounts that the cluster declares", "error", err.Error())
		}
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.Primary.Health().Unavailable || m.Cache.Complete() { // by now
		return
	}
	if m.outage == nil {
		o := m.lastOutage()
		if o == nil {
			o = newOutage(nil, m.Cache.Clock())
		}
		o.learn(m.Cache.All()) // what little is known of the table
		m.start(ctx, o, "the cluster's resources and Secrets")
	}
	m.outage.declare(accounts)
}

// share makes the locks of an outage known through the statuses, and takes over those of other replicas.
func (m *Mirror) share(ctx context.Context) {
	o := m.current()
	if o == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, shareTimeout) // an API server may be away as well
	defer cancel()
	locks, err := m.Cluster.Locks(ctx)
	for username, until := range locks {
		o.raise(username, until)
	}
	unpublished, failed := o.unpublished(ctx, mostShared)
	for username, observed := range unpublished {
		if failed = m.Cluster.PublishLock(ctx, username, observed); failed != nil {
			break // the API server's, mostly; the next time, then
		}
		o.publishedLock(username, *observed.Row)
	}
	for _, err := range []error{err, failed} {
		if err != nil && ctx.Err() == nil {
			m.Log.Debug("Cannot share a lock with other replicas", "error", err.Error())
		}
	}
}
