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

// offline is one fallback: it decides while the database is unavailable, and keeps what is to be merged.
type offline struct {
	store   *memory.Store
	clock   func() time.Time // the database's, as far as it is known
	firstID int64            // of its attempts, so that no other fallback has the same
	quiet   chan struct{}    // holds one when no attempt is left to be settled

	mu         sync.Mutex
	activities map[string]store.OfflineActivity // what is to be merged, by username
	touched    map[string]struct{}              // usernames that ever had activity
	alone      map[string]int                   // failures that this fallback counted and that still count
	open       map[int64]string                 // attempts that are not settled yet, with their usernames
	unmerged   []*part                          // parts that are not known to be merged
	published  map[string]time.Time             // locks that were written into statuses
	raised     map[string]time.Time             // locks that were read from statuses, by the database's clock
	declared   map[string]user.Observed         // the latest cluster accounts; nil where the fallback began with the cache
	ahead      time.Duration                    // the database's clock minus clock, once it is known
	recorded   int64                            // the last attempt that was taken
}

// newOffline returns a fallback that begins with these accounts.
func newOffline(accounts map[string]user.Observed, clock func() time.Time) *offline {
	o := &offline{
		store:      memory.New(clock),
		clock:      clock,
		firstID:    clock().UnixNano(),
		quiet:      make(chan struct{}, 1),
		activities: map[string]store.OfflineActivity{},
		touched:    map[string]struct{}{},
		alone:      map[string]int{},
		open:       map[int64]string{},
		published:  map[string]time.Time{},
		raised:     map[string]time.Time{},
	}
	o.store.Restore(accounts)
	return o
}

// charge charges an attempt to the common budget, wherever it comes from: replicas cannot agree on familiar addresses, and an
// address that became familiar only now would give an account one more budget. Alone is the number of failures during this
// fallback that locks; 0 leaves it to the limits.
func (o *offline) charge(ctx context.Context, attempt store.Attempt, limits store.Limits, alone int) (store.Charge, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	observed, err := o.store.Observe(ctx, attempt.Username)
	if err != nil {
		return store.Charge{}, err
	}
	if row := observed.Row; row != nil && alone > 0 {
		before := max(0, row.FailedLoginAttempts-o.alone[attempt.Username])
		if row.LockedUntil != nil && !observed.Locked() {
			before = 0 // an expired lock leaves a clean counter
		}
		limits.Most = before + alone
	}
	limits.CommonOnly = true
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
	activity := o.activityOf(charged.Username)
	if charged.Failed == 1 { // the first of a clean counter
		activity.Failures, o.alone[charged.Username] = 0, 0
	}
	activity.Failures++
	o.alone[charged.Username]++
	o.activities[charged.Username] = activity
	return charged, nil
}

// charged counts an attempt that the database charged while the fallback began.
func (o *offline) charged(charged store.Charge) {
	if charged.Verdict != store.Check || charged.Familiar {
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

// settle settles an attempt. The only error is that of the context.
func (o *offline) settle(ctx context.Context, charged store.Charge, success bool) (accepted bool, err error) {
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
		activity := o.activityOf(charged.Username)
		activity.Failures, activity.LastLogin = 0, new(o.clock())
		o.activities[charged.Username], o.alone[charged.Username] = activity, 0
	}
	return accepted, nil
}

// raise takes over a lock that another replica wrote into a status, unless there is a longer one.
func (o *offline) raise(username string, until time.Time) {
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
		o.activityOf(username) // the replica that wrote the status may end before it merges
		return row
	})
}

// unpublished returns locks of the fallback that are not pending and that no status reports yet, at most so many.
func (o *offline) unpublished(ctx context.Context, most int) (map[string]user.Observed, error) {
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

// publishedLock records that a status reports a lock.
func (o *offline) publishedLock(username string, row user.Row) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.published[username] = *row.LockedUntil
}

// whole returns a time as a status has it: in whole seconds.
func whole(t time.Time) time.Time { return t.Truncate(time.Second) }

// declare takes over the cluster accounts. Counters and locks stay.
func (o *offline) declare(accounts map[string]user.Observed) {
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
			o.activityOf(username) // it may be of this fallback, and of a process that ended before it merged
		}
	}
}

// learn takes over accounts of the table. Of counters and locks the stricter ones stay, since the table has not those of this
// fallback.
func (o *offline) learn(accounts map[string]user.Observed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for username, account := range accounts {
		o.store.Restate(username, account)
		if account.Row == nil || (account.Row.LockedUntil != nil && !account.Locked()) {
			continue // its lock and its counter no longer count
		}
		o.store.Raise(username, account.Row.FailedLoginAttempts, account.Row.LockedUntil)
	}
}

// activityOf returns the activity of an account that is to be merged, its lock at least. It is called with the lock held.
func (o *offline) activityOf(username string) store.OfflineActivity {
	activity := o.activities[username]
	activity.Username = username
	o.activities[username] = activity
	o.touched[username] = struct{}{}
	return activity
}

// touchedAccounts returns the usernames whose counters and locks the fallback may have changed.
func (o *offline) touchedAccounts() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Collect(maps.Keys(o.touched))
}
