// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"context"
	"slices"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

const (
	mostRecords  = 8           // fallbacks that may wait for their audit rows to be merged
	raiseTimeout = time.Second // for statuses, which are in a cache
)

// merge merges what was taken of a fallback, part by part. The next call merges what this one did not. The ID shows the
// database whether a part was merged before. A part that is rejected repeatedly is split, so that one rejected account does
// not block the others. That account is given up in the end.
func (s *Store) merge(ctx context.Context, o *offline) error {
	o.mu.Lock()
	parts := o.unmerged
	o.mu.Unlock()
	var rejected error
	var left []*part
	for i, p := range parts {
		err := s.Database.Merge(ctx, p.OfflineBatch, s.Limits)
		if err == nil {
			continue
		}
		rejected = err
		p.tries++
		if ctx.Err() != nil || s.Database.Health().Unavailable || p.tries < fewTries {
			left = append(left, parts[i:]...)
			break
		}
		// If an empty part is rejected too, it is not because of this part.
		if err := s.Database.Merge(ctx, newPart(nil, nil).OfflineBatch, s.Limits); err != nil {
			p.tries--
			left = append(left, parts[i:]...)
			break
		}
		if halves := p.split(); halves != nil {
			left = append(left, halves...)
		} else if p.tries < mostTries {
			left = append(left, p)
		} else {
			s.giveUp(p.OfflineBatch)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.unmerged = append(left, o.unmerged[len(parts):]...)
	if len(o.unmerged) == 0 {
		return nil
	}
	return rejected
}

// giveUp drops a part that the database rejects.
func (s *Store) giveUp(part store.OfflineBatch) {
	s.metrics.dropped.Add(float64(len(part.Attempts)))
	for _, activity := range part.Accounts {
		s.Log.Error("The database rejected the fallback logins of an account", "user", activity.Username)
	}
}

// end merges the activity of accounts, and lets the database decide again. Most of it is merged while the fallback still
// decides. New attempts wait for the rest. The audit rows may follow later.
func (s *Store) end(ctx context.Context) error {
	o := s.current()
	now, err := s.Database.Observe(ctx, "-") // any username, for the clock
	if err != nil {
		return err
	}
	o.databaseIsAt(now.Now)
	s.raise(ctx, o)
	if err := s.merge(ctx, o); err != nil && !o.hasOnlyRejects() {
		return err
	}
	for before := o.size() + 1; o.size() > partSize && o.size() < before; {
		before = o.size()
		if err := o.take(ctx, false); err != nil {
			return err
		}
		if err := s.merge(ctx, o); err != nil {
			return err
		}
	}

	s.hold()
	err = s.endHeld(ctx, o)
	s.release(ctx, err == nil)
	return err
}

// raise takes over the locks of replicas that may have ended before they merged them, if the statuses can be read now.
func (s *Store) raise(ctx context.Context, o *offline) {
	ctx, cancel := context.WithTimeout(ctx, raiseTimeout)
	defer cancel()
	locks, err := s.Cluster.Locks(ctx)
	if err != nil {
		return
	}
	for username, until := range locks {
		o.raise(username, until)
	}
}

// endHeld merges the rest while new attempts wait.
func (s *Store) endHeld(ctx context.Context, o *offline) error {
	o.awaitSettled(ctx)
	for o.size() > 0 {
		if err := o.take(ctx, true); err != nil {
			return err
		}
	}
	err := s.merge(ctx, o)
	if err != nil && o.hasOnlyRejects() {
		return nil // it is merged with the audit rows
	}
	return err
}

// hold makes new attempts wait.
func (s *Store) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = make(chan struct{})
}

// release lets new attempts continue: by the database if the fallback ended, otherwise by the fallback.
func (s *Store) release(ctx context.Context, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.ending)
	s.ending = nil
	if !ended {
		return
	}
	o := s.offline
	s.offline = nil
	if touched := o.touchedAccounts(); len(touched) > 0 {
		s.Cache.Invalidate(touched...)
		s.last, s.lastCached = o, s.Cache.Refreshed()
	}
	s.records = append(s.records, o)
	for len(s.records) > mostRecords {
		s.metrics.dropped.Add(float64(s.records[0].unrecorded()))
		s.records = slices.Delete(s.records, 0, 1)
	}
	for w := range s.watchers {
		w.wake()
	}
	s.Log.Info("The database is available again; the fallback logins are merged")
	s.Announce(ctx, false)
}

// mergeRecords merges the audit rows of fallbacks that ended.
func (s *Store) mergeRecords(ctx context.Context) error {
	for {
		s.mu.Lock()
		var o *offline
		if len(s.records) > 0 {
			o = s.records[0]
		}
		s.mu.Unlock()
		if o == nil {
			return nil
		}
		s.metrics.dropped.Add(float64(o.takeAttempts()))
		if err := s.merge(ctx, o); err != nil {
			return err
		}
		s.mu.Lock()
		s.records = slices.DeleteFunc(s.records, func(other *offline) bool { return other == o })
		s.mu.Unlock()
	}
}
