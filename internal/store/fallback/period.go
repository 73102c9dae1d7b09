// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/memory"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// outage decides while the database is away, and keeps what it will have to be told.
type outage struct {
	store   *memory.Store
	clock   func() time.Time // the database's, as far as it is known
	firstID int64            // of its attempts, so that no other outage has the same
	quiet   chan struct{}    // holds one when no attempt waits to be settled any more

	mu        sync.Mutex
	missed    map[string]store.OfflineActivity // accounts that have something to be merged
	touched   map[string]struct{}              // accounts that ever had
	alone     map[string]int                   // failures that this outage counted, and that still count
	open      map[int64]string                 // attempts that are not settled yet, and whose they are
	unmerged  []*part                          // what was taken and is not known to have been merged
	published map[string]time.Time             // locks that the statuses were told of
	raised    map[string]time.Time             // locks that they told of, by the database's clock
	declared  map[string]user.Observed         // what the cluster declared last; nil where the outage began with the copy
	ahead     time.Duration                    // the database's clock, as it turned out, is ahead of clock by this
	recorded  int64                            // the last attempt on record that was taken
}

// newOutage begins with these accounts.
func newOutage(accounts map[string]user.Observed, clock func() time.Time) *outage {
	o := &outage{
		store:     memory.New(clock),
		clock:     clock,
		firstID:   clock().UnixNano(),
		quiet:     make(chan struct{}, 1),
		missed:    map[string]store.OfflineActivity{},
		touched:   map[string]struct{}{},
		alone:     map[string]int{},
		open:      map[int64]string{},
		published: map[string]time.Time{},
		raised:    map[string]time.Time{},
	}
	o.store.Restore(accounts)
	return o
}

// charge charges an attempt in memory. Alone is how many failures of the outage lock; 0 is as many as ever.
func (o *outage) charge(ctx context.Context, attempt store.Attempt, limits store.Limits, alone int) (store.Charge, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	observed, err := o.store.Observe(ctx, attempt.Username)
	if err != nil {
		return store.Charge{}, err
	}
	if row := observed.Row; row != nil && alone > 0 {
		before := max(0, row.FailedLoginAttempts-o.alone[attempt.Username])
		if row.LockedUntil != nil && !observed.Locked() {
			before = 0 // a lock that ran out leaves a clean counter
		}
		limits.Most = before + alone
	}
	charged, err := o.store.Charge(ctx, attempt, limits)
	if err != nil {
		return charged, err
	}
	charged.Fallback = true
	if charged.Verdict != store.Check {
		return charged, nil
	}
	charged.ID += o.firstID
	o.open[charged.ID] = charged.Username
	missed := o.owe(charged.Username)
	if charged.Failed == 1 { // of a clean counter, whatever there was before
		missed.Failures, o.alone[charged.Username] = 0, 0
	}
	missed.Failures++
	o.alone[charged.Username]++
	o.missed[charged.Username] = missed
	return charged, nil
}

// charged takes note of an attempt that the database charged while the outage began.
func (o *outage) charged(charged store.Charge) {
	if charged.Verdict != store.Check {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	var until *time.Time
	if charged.Locks {
		until = new(charged.Until)
	}
	o.store.Raise(charged.Username, charged.Failed, until)
}

// settle settles an attempt in memory. The only error is the context's.
func (o *outage) settle(ctx context.Context, charged store.Charge, success bool) (accepted bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ours := o.open[charged.ID]; !ours {
		return false, nil
	}
	id := charged.ID
	charged.ID -= o.firstID
	accepted, err = o.store.Settle(ctx, charged, success)
	if err != nil {
		return false, err
	}
	delete(o.open, id)
	if len(o.open) == 0 {
		select {
		case o.quiet <- struct{}{}:
		default:
		}
	}
	if accepted {
		missed := o.owe(charged.Username)
		missed.Failures, missed.LastLogin = 0, new(o.clock())
		o.missed[charged.Username], o.alone[charged.Username] = missed, 0
	}
	return accepted, nil
}

// raise takes over a lock that another replica's status tells of, unless there is a longer one.
func (o *outage) raise(username string, until time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	known := whole(o.published[username].Add(o.ahead))
	if !until.After(o.clock().Add(o.ahead)) || !o.raised[username].Before(until) || !known.Before(until) {
		return
	}
	o.store.Edit(username, func(row *user.Row) *user.Row {
		if row == nil {
			return nil
		}
		o.raised[username] = until
		if row.LockedUntil != nil && !row.LockedUntil.Before(until) {
			return row
		}
		row.LockedUntil = &until
		o.owe(username) // whoever wrote the status may not live to merge it
		return row
	})
}

// unpublished is the locks that the outage brought and that no status tells of yet, as far as they are no longer pending;
// at most so many.
func (o *outage) unpublished(ctx context.Context, most int) (map[string]user.Observed, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	locks := map[string]user.Observed{}
	for username := range o.touched {
		observed, err := o.store.Observe(ctx, username)
		if err != nil {
			return nil, err
		}
		if !observed.Locked() || observed.LockPending() {
			continue
		}
		if until := whole(*observed.Row.LockedUntil); o.published[username].Before(until) && o.raised[username].Before(until) {
			locks[username] = observed
		}
		if len(locks) == most {
			break
		}
	}
	return locks, nil
}

// publishedLock takes note that a status tells of a lock.
func (o *outage) publishedLock(username string, row user.Row) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.published[username] = *row.LockedUntil
}

// whole is a time as a status has it: without fractions of a second.
func whole(t time.Time) time.Time { return t.Truncate(time.Second) }

// declare takes over what the cluster declares by now. Counters and locks stay.
func (o *outage) declare(accounts map[string]user.Observed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for username := range o.declared {
		if _, still := accounts[username]; !still {
			o.store.Restate(username, user.Observed{})
		}
	}
	o.declared = accounts
	for username, account := range accounts {
		o.store.Restate(username, account)
		if account.Locked() {
			o.owe(username) // it may be of this outage, and of a process that did not live to merge it
		}
	}
}

// learn takes over what the table says by now. Of counters and locks the stricter ones stay: the table does not know of this
// outage's.
func (o *outage) learn(accounts map[string]user.Observed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for username, account := range accounts {
		o.store.Restate(username, account)
		if account.Row == nil || (account.Row.LockedUntil != nil && !account.Locked()) {
			continue // neither its lock nor its counter counts any more
		}
		o.store.Raise(username, account.Row.FailedLoginAttempts, account.Row.LockedUntil)
	}
}

// owe sees to it that something of an account is merged, its lock at least, and returns what is. It is called with the lock
// held.
func (o *outage) owe(username string) store.OfflineActivity {
	missed := o.missed[username]
	missed.Username = username
	o.missed[username] = missed
	o.touched[username] = struct{}{}
	return missed
}

// touchedAccounts is the accounts whose counters and locks the outage may have changed.
func (o *outage) touchedAccounts() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Collect(maps.Keys(o.touched))
}
