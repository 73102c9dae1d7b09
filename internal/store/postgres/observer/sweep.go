// SPDX-License-Identifier: Apache-2.0

package observer

import (
	"context"
	"maps"
	"slices"
	"time"
)

// sweeps sweeps until ctx ends: every PollInterval, every ResyncInterval while notifications arrive, and on request.
func (r *run) sweeps(ctx context.Context) {
	for {
		timer := time.NewTimer(time.Until(r.due()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-r.earlier:
			timer.Stop()
		case <-timer.C:
			r.sweepOnce(ctx)
		}
	}
}

// due returns when the next sweep is due.
func (r *run) due() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.listening != nil && !r.listening.swept:
		return time.Now()
	case r.requested:
		return r.tried.Add(min(r.settings.PollInterval, r.timing.Requests))
	case r.listening != nil:
		return r.tried.Add(r.settings.ResyncInterval)
	}
	return r.tried.Add(r.settings.PollInterval)
}

// sweepOnce sweeps for the listening connection, if there is one, and checks that the trigger is still there.
func (r *run) sweepOnce(ctx context.Context) {
	current := r.begin()
	err := r.sweep(ctx)
	if err == nil && current != nil && current.swept {
		var isThere bool
		if isThere, err = r.database.ArrangeTrigger(ctx); err == nil && !isThere {
			err = errNotNotified
		}
	}
	r.end(current, err)
}

// begin begins a sweep. Changes that are notified from now on may not be in what the sweep reads.
func (r *run) begin() *listening {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requested = false
	r.inSweep, r.notified = r.notified, pending{}
	r.droppedBeforeSweep, r.droppedSinceSweep = r.droppedSinceSweep, false
	return r.listening
}

// end ends a sweep. Without an error it has made up for the notifications that were dropped before it began.
func (r *run) end(current *listening, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried = time.Now()
	if err != nil {
		hasRoom := r.notified.addAll(r.inSweep)
		r.droppedSinceSweep = r.droppedSinceSweep || r.droppedBeforeSweep || !hasRoom
	}
	r.inSweep, r.droppedBeforeSweep = pending{}, false
	if current == nil || r.listening != current {
		return // it came or went meanwhile
	}
	if err != nil {
		r.listening = nil // the goroutine that listens closes the connection
		current.fail(err)
	} else if !current.swept {
		current.swept = true
		current.connection.Rely()
		r.notifying()
	}
}

// sweep reads the digests and reports all that differ from the last sweep; the first time, all there are. It also reports
// usernames that were notified before it began: their digests may be those of the last sweep, with a change in between.
func (r *run) sweep(ctx context.Context) error {
	found, err := r.read(ctx)
	if err != nil {
		return err
	}
	r.report(ctx, found)
	return ctx.Err()
}

// read reads the digests as a stream. It waits for the database only, and so keeps the connection no longer than needed.
func (r *run) read(ctx context.Context) (found *comparison, err error) {
	err = r.database.ReadDigests(ctx,
		func(isOther bool) { found = compareWith(r.knownOf(isOther)) },
		func(username []byte, digest int64) { found.add(username, digest) })
	return found, err
}

// knownOf returns the digests of the last sweep. If that was of another table, the digests are such that all of its
// usernames are reported, as well as those of this one.
func (r *run) knownOf(isOther bool) digests {
	r.mu.Lock()
	defer r.mu.Unlock()
	if isOther {
		r.known = r.known.changed()
	}
	return r.known
}

// report ends the comparison and reports what differs to the subscribers.
func (r *run) report(ctx context.Context, found *comparison) {
	after := found.after()
	r.mu.Lock()
	isFirst := !r.isKnown
	r.known, r.isKnown = after, true
	notified := r.inSweep
	subscribers := slices.Collect(maps.Keys(r.subscribers)) // a later one gets all that is known
	r.mu.Unlock()

	pages := pages{ctx: ctx, subscribers: subscribers}
	for username := range found.usernames() {
		pages.add(username)
	}
	for username := range notified.names {
		pages.add(username)
	}
	pages.end(isFirst)
}

// pages collects usernames and offers them to subscribers. The last page is no smaller than the others.
type pages struct {
	ctx         context.Context //nolint:containedctx // of one sweep
	subscribers []*subscriber
	usernames   []string
}

func (p *pages) add(username string) {
	p.usernames = append(p.usernames, username)
	if len(p.usernames) < 2*pageSize {
		return
	}
	p.offer(p.usernames[:pageSize])
	p.usernames = append([]string(nil), p.usernames[pageSize:]...)
}

// end offers the rest and, after the first sweep, the end of the rows.
func (p *pages) end(isFirst bool) {
	if len(p.usernames) > 0 {
		p.offer(p.usernames)
	}
	if isFirst {
		p.offer(nil)
	}
}

func (p *pages) offer(usernames []string) {
	for _, m := range p.subscribers {
		m.offer(p.ctx, usernames)
	}
}
