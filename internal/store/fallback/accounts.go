// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// snapshotSize is how many accounts are read at once.
const snapshotSize = 1000

// accounts is the copy. What it holds is what the database said, and what this process's own log-ins did since. An account
// that may have changed is stale until it was read again.
type accounts struct {
	now func() time.Time

	most int // copies

	mu     sync.Mutex
	copies *lru.Cache[string, user.Observed]
	stale  map[string]uint64 // usernames to be read again, with the mark that they got last
	marks  uint64            // how many marks were ever made
	told   bool              // Watch has told of all that there is, and said so
	filled bool              // and all of that has been read
	skew   time.Duration     // the database's clock is ahead of ours by this
	some   chan struct{}     // holds one when there is something stale
}

func newAccounts(most int, now func() time.Time) *accounts {
	most = max(1, most)
	copies, err := lru.New[string, user.Observed](most)
	if err != nil {
		panic(err) // of sizes below one
	}
	return &accounts{now: now, most: most, copies: copies, stale: map[string]uint64{}, some: make(chan struct{}, 1)}
}

// get is an account as the database has it; not where it is not known, or stale.
func (a *accounts) get(username string) (user.Observed, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, stale := a.stale[username]; stale || !a.filled {
		return user.Observed{}, false
	}
	observed, ok := a.copies.Get(username)
	observed.Now = a.now().Add(a.skew)
	return observed, ok
}

// changed marks accounts that may have changed.
func (a *accounts) changed(usernames ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mark(usernames...)
}

// watched is changed, of what Watch told. A call without usernames says that all there is was told. Of a table that is larger
// than the copy, only accounts are marked that are in the copy or have room in it.
func (a *accounts) watched(usernames []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(usernames) == 0 {
		a.told = true
	}
	if a.filled && len(usernames) <= snapshotSize { // single changes may replace older copies
		a.mark(usernames...)
		return
	}
	for _, username := range usernames {
		if _, stale := a.stale[username]; stale || a.copies.Contains(username) || a.copies.Len()+len(a.stale) < a.most {
			a.mark(username)
		}
	}
	a.mark() // what was told may be worth a look
}

// want marks an account that is missing.
func (a *accounts) want(username string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, stale := a.stale[username]; !stale && !a.copies.Contains(username) {
		a.mark(username)
	}
}

// mark is called with the lock held.
func (a *accounts) mark(usernames ...string) {
	for _, username := range usernames {
		a.marks++
		a.stale[username] = a.marks
	}
	select {
	case a.some <- struct{}{}:
	default:
	}
}

// charged takes note of an attempt that was charged in the database: nobody is notified of mere counters. Of a lock one
// is, but not at once, and the database may go away before.
func (a *accounts) charged(charged store.Charged) {
	if charged.Verdict != store.Check {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.edit(charged.Username, func(row *user.Row) {
		row.FailedLoginAttempts, row.LockedUntil = charged.Failed, nil // if there was a lock, it had run out
		if charged.Locks {
			row.LockedUntil = new(charged.Until)
		}
	})
	a.markAfterLogIn(charged)
}

// succeeded takes note of a log-in, which may have lifted the lock that its own charge wrote.
func (a *accounts) succeeded(charged store.Charged) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.edit(charged.Username, func(row *user.Row) {
		row.FailedLoginAttempts = 0
		if charged.Locks {
			row.LockedUntil = nil
		}
	})
	a.markAfterLogIn(charged)
}

// markAfterLogIn marks an account whose lock changed, and one that is being read just now: what is read may be from before.
// It is called with the lock held.
func (a *accounts) markAfterLogIn(charged store.Charged) {
	if _, stale := a.stale[charged.Username]; stale || charged.Locks {
		a.mark(charged.Username)
	}
}

// edit is called with the lock held. What it changes is another row: somebody may be reading this one.
func (a *accounts) edit(username string, edit func(*user.Row)) {
	observed, ok := a.copies.Peek(username)
	if !ok || observed.Row == nil {
		return
	}
	observed.Row = new(*observed.Row)
	edit(observed.Row)
	a.copies.Add(username, observed)
}

// complete tells whether there is a copy of everything, up to the bound.
func (a *accounts) complete() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.filled
}

// clock is the database's, as far as it is known.
func (a *accounts) clock() func() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	skew := a.skew
	return func() time.Time { return a.now().Add(skew) }
}

// all is a copy of the copy.
func (a *accounts) all() map[string]user.Observed {
	a.mu.Lock()
	defer a.mu.Unlock()
	copies := make(map[string]user.Observed, a.copies.Len())
	for _, username := range a.copies.Keys() {
		copies[username], _ = a.copies.Peek(username)
	}
	return copies
}

func (a *accounts) size() int { return a.copies.Len() }

// refresh reads all that is stale, as far as the database lets it, and calls learned with what is new.
func (a *accounts) refresh(
	ctx context.Context, snapshot func(context.Context, []string) (map[string]user.Observed, error), learned func(map[string]user.Observed),
) error {
	a.mu.Lock()
	marked, told := maps.Clone(a.stale), a.told
	a.mu.Unlock()
	for part := range slices.Chunk(slices.Collect(maps.Keys(marked)), snapshotSize) {
		read, err := snapshot(ctx, part)
		if err != nil {
			return err
		}
		a.put(read, marked)
		learned(read)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.filled = a.filled || told
	return nil
}

// put takes in what was read after these marks were made. What was marked again meanwhile stays stale: the copy may know
// better than what was read.
func (a *accounts) put(read map[string]user.Observed, marked map[string]uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for username, observed := range read {
		a.skew = observed.Now.Sub(a.now())
		if a.stale[username] == marked[username] {
			delete(a.stale, username)
		} else if a.copies.Contains(username) {
			continue
		}
		if observed.Row == nil && observed.Ownership == nil {
			a.copies.Remove(username)
		} else {
			a.copies.Add(username, observed)
		}
	}
}
