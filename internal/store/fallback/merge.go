// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"context"
	"slices"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

const (
	mostRecords  = 8           // outages that may wait for their record of attempts to be merged
	raiseTimeout = time.Second // for statuses, which are in a cache
)

// merge merges what was taken of an outage, part by part. What has not been merged when it fails will be the next time, and
// what may or may not have been is known by its ID. A part that the database refuses again and again is split, so that one
// account that it does not take keeps nobody else from it; that one is given up in the end.
func (m *Mirror) merge(ctx context.Context, o *outage) error {
	o.mu.Lock()
	parts := o.unmerged
	o.mu.Unlock()
	var refused error
	var left []*part
	for i, p := range parts {
		err := m.Primary.Merge(ctx, p.OfflineBatch, m.Limits)
		if err == nil {
			continue
		}
		refused = err
		p.tries++
		if ctx.Err() != nil || m.Primary.Health().Unavailable || p.tries < fewTries {
			left = append(left, parts[i:]...)
			break
		}
		// What refuses nothing in particular is no reason to give this part up.
		if err := m.Primary.Merge(ctx, newPart(nil, nil).OfflineBatch, m.Limits); err != nil {
			p.tries--
			left = append(left, parts[i:]...)
			break
		}
		if halves := p.split(); halves != nil {
			left = append(left, halves...)
		} else if p.tries < mostTries {
			left = append(left, p)
		} else {
			m.lose(p.OfflineBatch)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.unmerged = append(left, o.unmerged[len(parts):]...)
	if len(o.unmerged) == 0 {
		return nil
	}
	return refused
}

// lose gives up what the database does not take.
func (m *Mirror) lose(part store.OfflineBatch) {
	m.metrics.dropped.Add(float64(len(part.Attempts)))
	for _, missed := range part.Accounts {
		m.Log.Error("The database rejected the fallback logins of an account", "user", missed.Username)
	}
}

// end merges what happened to accounts, and lets the database decide again. Most of it is merged while attempts are still
// decided from memory; for the rest they wait. The record of attempts may follow later.
func (m *Mirror) end(ctx context.Context) error {
	o := m.current()
	now, err := m.Primary.Observe(ctx, "-") // of whoever, for the clock
	if err != nil {
		return err
	}
	o.databaseIsAt(now.Now)
	m.raise(ctx, o)
	if err := m.merge(ctx, o); err != nil && !o.isStubborn() {
		return err
	}
	for before := o.size() + 1; o.size() > partSize && o.size() < before; {
		before = o.size()
		if err := o.take(ctx, false); err != nil {
			return err
		}
		if err := m.merge(ctx, o); err != nil {
			return err
		}
	}

	m.hold()
	err = m.endHeld(ctx, o)
	m.release(ctx, err == nil)
	return err
}

// raise takes over the locks of replicas that may not have lived to merge them, as far as the statuses can be read now.
func (m *Mirror) raise(ctx context.Context, o *outage) {
	ctx, cancel := context.WithTimeout(ctx, raiseTimeout)
	defer cancel()
	locks, err := m.Cluster.Locks(ctx)
	if err != nil {
		return
	}
	for username, until := range locks {
		o.raise(username, until)
	}
}

// endHeld is the end of end, while new attempts wait.
func (m *Mirror) endHeld(ctx context.Context, o *outage) error {
	o.awaitSettled(ctx)
	for o.size() > 0 {
		if err := o.take(ctx, true); err != nil {
			return err
		}
	}
	err := m.merge(ctx, o)
	if err != nil && o.isStubborn() {
		return nil // it stays with what is recorded later
	}
	return err
}

// hold makes new attempts wait.
func (m *Mirror) hold() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ending = make(chan struct{})
}

// release lets them go on: with the database if the outage ended, else as before.
func (m *Mirror) release(ctx context.Context, ended bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.ending)
	m.ending = nil
	if !ended {
		return
	}
	o := m.outage
	m.outage = nil
	if touched := o.touchedAccounts(); len(touched) > 0 {
		m.Cache.Invalidate(touched...)
		m.last, m.lastCached = o, m.Cache.Refreshed()
	}
	m.records = append(m.records, o)
	for len(m.records) > mostRecords {
		m.metrics.dropped.Add(float64(m.records[0].unrecorded()))
		m.records = slices.Delete(m.records, 0, 1)
	}
	for w := range m.watchers {
		w.wake()
	}
	m.Log.Info("The database is available again; the fallback logins are merged")
	m.Announce(ctx, false)
}

// mergeRecords merges the records of attempts of outages that ended.
func (m *Mirror) mergeRecords(ctx context.Context) error {
	for {
		m.mu.Lock()
		var o *outage
		if len(m.records) > 0 {
			o = m.records[0]
		}
		m.mu.Unlock()
		if o == nil {
			return nil
		}
		m.metrics.dropped.Add(float64(o.takeAttempts()))
		if err := m.merge(ctx, o); err != nil {
			return err
		}
		m.mu.Lock()
		m.records = slices.DeleteFunc(m.records, func(other *outage) bool { return other == o })
		m.mu.Unlock()
	}
}
