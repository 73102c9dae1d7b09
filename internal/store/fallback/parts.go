// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

const (
	// partSize is the largest number of accounts or attempts in one part.
	partSize = 500

	// fewTries is how often a part is tried that the available database rejects, before the part is split. mostTries is how
	// often a part is tried that cannot be split, before it is given up: about a minute.
	fewTries  = 3
	mostTries = 240
)

// part is merged as a whole, and once: its ID shows whether it was.
type part struct {
	store.OfflineBatch
	tries int
}

func newPart(accounts []store.OfflineActivity, attempts []store.Record) *part {
	return &part{OfflineBatch: store.OfflineBatch{ID: rand.Text(), Accounts: accounts, Attempts: attempts}}
}

// split returns the part as two, or nil where it cannot be split. The part itself may have been merged. Then its failures
// count twice, which is the safe error.
func (p *part) split() []*part {
	accounts, attempts := len(p.Accounts)/2, len(p.Attempts)/2
	if accounts+attempts == 0 {
		return nil
	}
	return []*part{
		newPart(p.Accounts[:accounts], p.Attempts[:attempts]), newPart(p.Accounts[accounts:], p.Attempts[attempts:]),
	}
}

// size returns the number of accounts that have activity to be merged.
func (o *offline) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.activities)
}

// awaitSettled waits until all attempts are settled, for as long as an attempt may take. Meanwhile none is charged.
func (o *offline) awaitSettled(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, store.PendingTime)
	defer cancel()
	for {
		o.mu.Lock()
		open := len(o.open)
		o.mu.Unlock()
		if open == 0 {
			return
		}
		select {
		case <-o.quiet:
		case <-ctx.Done():
			return
		}
	}
}

// databaseIsAt records the time of the database's clock.
func (o *offline) databaseIsAt(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ahead = now.Sub(o.clock())
}

// take moves the activity of up to partSize accounts to the unmerged parts. Accounts with an open attempt are left for
// later, unless all are wanted.
func (o *offline) take(ctx context.Context, all bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	busy := map[string]bool{}
	for _, username := range o.open {
		busy[username] = !all
	}
	var accounts []store.OfflineActivity
	for username, activity := range o.activities {
		if busy[username] {
			continue
		}
		observed, err := o.store.Observe(ctx, username)
		if err != nil {
			return err
		}
		if row := observed.Row; row != nil && row.LockedUntil != nil {
			switch until, raised := o.raised[username]; {
			case !observed.Locked():
				activity.Failures = 0 // the lock that they caused has expired
			case raised && until.Equal(*row.LockedUntil):
				activity.LockedUntil = &until // from a status, and so in the database's time
			default:
				activity.LockedUntil = new(row.LockedUntil.Add(o.ahead))
			}
		}
		if activity.LastLogin != nil {
			activity.LastLogin = new(activity.LastLogin.Add(o.ahead))
		}
		if accounts = append(accounts, activity); len(accounts) == partSize {
			break
		}
	}
	for _, activity := range accounts {
		delete(o.activities, activity.Username)
	}
	if len(accounts) > 0 {
		o.unmerged = append(o.unmerged, newPart(accounts, nil))
	}
	return nil
}

// takeAttempts moves the attempts since the last call to the unmerged parts. It returns how many the store had no room for.
func (o *offline) takeAttempts() (dropped int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	attempts := o.store.Attempts()
	isTaken := func(r store.Record) bool { return r.ID <= o.recorded }
	attempts = slices.DeleteFunc(attempts, isTaken)
	if len(attempts) == 0 {
		return 0
	}
	last := attempts[len(attempts)-1].ID
	dropped = last - o.recorded - int64(len(attempts)) // their IDs have no gaps
	o.recorded = last
	for i := range attempts {
		attempts[i].Time = attempts[i].Time.Add(o.ahead)
	}
	for some := range slices.Chunk(attempts, partSize) {
		o.unmerged = append(o.unmerged, newPart(nil, some))
	}
	return dropped
}

// unrecorded returns how many attempts are not known to be recorded.
func (o *offline) unrecorded() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.unmerged {
		n += len(p.Attempts)
	}
	for _, r := range o.store.Attempts() {
		if r.ID > o.recorded {
			n++
		}
	}
	return n
}

// hasOnlyRejects reports whether all that is left are single accounts that the database rejected repeatedly, because another
// program locks the row for example. Other accounts need not wait for them.
func (o *offline) hasOnlyRejects() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.activities) == 0 && !slices.ContainsFunc(o.unmerged, func(p *part) bool {
		return p.tries < fewTries || len(p.Accounts)+len(p.Attempts) > 1
	})
}
