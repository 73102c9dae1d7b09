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
	// partSize is how many accounts, or attempts, are merged at once.
	partSize = 500

	// fewTries is how often a part is tried that the database refuses although it is there, before it is split, and mostTries
	// before it is given up where there is nothing to split: about a minute.
	fewTries  = 3
	mostTries = 240
)

// part is merged as a whole, and once: it has an ID.
type part struct {
	store.OfflineBatch
	tries int
}

func newPart(accounts []store.OfflineActivity, attempts []store.Record) *part {
	return &part{OfflineBatch: store.OfflineBatch{ID: rand.Text(), Accounts: accounts, Attempts: attempts}}
}

// split is the part in two, or none where there is nothing to split. Whether the part itself was merged is not known; if it
// was, its failures count twice, which is the safe mistake.
func (p *part) split() []*part {
	accounts, attempts := len(p.Accounts)/2, len(p.Attempts)/2
	if accounts+attempts == 0 {
		return nil
	}
	return []*part{
		newPart(p.Accounts[:accounts], p.Attempts[:attempts]), newPart(p.Accounts[accounts:], p.Attempts[attempts:]),
	}
}

// size is how many accounts have something to be merged.
func (o *outage) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.missed)
}

// awaitSettled waits until no attempt waits to be settled, while none is charged. It does not wait for longer than any
// takes.
func (o *outage) awaitSettled(ctx context.Context) {
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

// databaseIsAt takes note of the database's clock, once it can be asked.
func (o *outage) databaseIsAt(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ahead = now.Sub(o.clock())
}

// take takes a part of the accounts that have something to be merged; from then on it is among the unmerged. Those who
// are in the middle of an attempt are left for later, unless all are wanted.
func (o *outage) take(ctx context.Context, all bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	busy := map[string]bool{}
	for _, username := range o.open {
		busy[username] = !all
	}
	var accounts []store.OfflineActivity
	for username, missed := range o.missed {
		if busy[username] {
			continue
		}
		observed, err := o.store.Observe(ctx, username)
		if err != nil {
			return err
		}
		if row := observed.Row; row != nil && row.LockedUntil != nil {
			switch until, told := o.raised[username]; {
			case !observed.Locked():
				missed.Failures = 0 // the lock that they brought is over, and they with it
			case told && until.Equal(*row.LockedUntil):
				missed.LockedUntil = &until // of a status, and so in the database's time
			default:
				missed.LockedUntil = new(row.LockedUntil.Add(o.ahead))
			}
		}
		if missed.LastLogin != nil {
			missed.LastLogin = new(missed.LastLogin.Add(o.ahead))
		}
		if accounts = append(accounts, missed); len(accounts) == partSize {
			break
		}
	}
	for _, missed := range accounts {
		delete(o.missed, missed.Username)
	}
	if len(accounts) > 0 {
		o.unmerged = append(o.unmerged, newPart(accounts, nil))
	}
	return nil
}

// takeAttempts takes what is on record of attempts since it did so last, and tells how many there was no room for.
func (o *outage) takeAttempts() (dropped int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	attempts := o.store.Attempts()
	taken := func(r store.Record) bool { return r.ID <= o.recorded }
	attempts = slices.DeleteFunc(attempts, taken)
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

// unrecorded is how many attempts are not known to be on record.
func (o *outage) unrecorded() (n int) {
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

// isStubborn tells whether nothing is left to be merged but what was refused again and again, alone: somebody holds a row's
// lock, say, and then nobody can be charged there either. Nobody else need wait for that.
func (o *outage) isStubborn() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.missed) == 0 && !slices.ContainsFunc(o.unmerged, func(p *part) bool {
		return p.tries < fewTries || len(p.Accounts)+len(p.Attempts) > 1
	})
}
