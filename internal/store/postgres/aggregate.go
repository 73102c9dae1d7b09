// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// Attempts that are rejected without a charge (unknown, locked, inactive) cost an attacker only time. Of each source, and of all
// together, a limited number a minute gets a row of its own in the audit trail. Further ones are added to one row for each minute,
// source and outcome, so that a flood neither fills the disk nor hides other attempts. Each replica counts by itself.
const (
	ownRowsOfSource = 100
	ownRows         = 1000

	// aggregatedSources bounds the rows, and the memory, of attempts from very many sources. Above it they share one source.
	aggregatedSources = 1000
	otherSources      = "other"
)

// aggregates counts the refused attempts of the current minute. The zero value is ready for use.
type aggregates struct {
	mu     sync.Mutex
	minute time.Time
	total  int
	counts map[string]int            // rows of their own, by source
	rows   map[aggregatedRow][]int64 // the IDs of rows that no charge is adding to
	known  map[string]struct{}       // sources that have such rows
}

type aggregatedRow struct {
	source  string
	verdict store.Verdict
}

// refusals are the verdicts of attempts that are not charged.
var refusals = [...]store.Verdict{store.Unknown, store.Locked, store.Inactive}

// placement is how an attempt is recorded if it is rejected.
type placement struct {
	minute     time.Time
	source     string                  // by which it is counted
	aggregated bool                    // not as a row of its own
	ids        map[store.Verdict]int64 // of the row to add to; 0 where there is none
}

// next returns the placement of the next attempt from the address. Its rows are its own until done gives it back, so that no
// charge waits for the lock of another one's row.
func (a *aggregates) next(address string, now time.Time) placement {
	source := network(address)
	a.mu.Lock()
	defer a.mu.Unlock()
	if minute := now.Truncate(time.Minute); a.counts == nil || !minute.Equal(a.minute) {
		a.minute, a.total = minute, 0
		a.counts, a.rows, a.known = map[string]int{}, map[aggregatedRow][]int64{}, map[string]struct{}{}
	}
	s := placement{minute: a.minute, source: source}
	if a.total < ownRows && a.counts[source] < ownRowsOfSource {
		return s
	}
	s.aggregated = true
	if _, isKnown := a.known[source]; !isKnown && len(a.known) >= aggregatedSources {
		s.source = otherSources
	}
	s.ids = map[store.Verdict]int64{}
	for _, verdict := range refusals {
		row := aggregatedRow{s.source, verdict}
		if free := a.rows[row]; len(free) > 0 {
			s.ids[verdict], a.rows[row] = free[len(free)-1], free[:len(free)-1]
		}
	}
	return s
}

// done gives a placement back. A rejected attempt is recorded with this ID.
func (a *aggregates) done(s placement, verdict store.Verdict, id int64) {
	isRefused := slices.Contains(refusals[:], verdict)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !s.minute.Equal(a.minute) {
		return
	}
	if !s.aggregated {
		if isRefused {
			a.total++
			a.counts[s.source]++
		}
		return
	}
	if isRefused {
		a.known[s.source] = struct{}{}
		s.ids[verdict] = id
	}
	for verdict, id := range s.ids {
		if id != 0 {
			row := aggregatedRow{s.source, verdict}
			a.rows[row] = append(a.rows[row], id)
		}
	}
}

// arguments completes the arguments of a charge.
func (s placement) arguments(args pgx.NamedArgs) {
	args["aggregated"], args["aggregated_source"] = s.aggregated, s.source
	args["unknown_row"], args["locked_row"], args["inactive_row"] = s.ids[store.Unknown], s.ids[store.Locked], s.ids[store.Inactive]
}

// network is the address or, of IPv6, the /64 that one client usually has to itself. Other text stays as it is, as far as a
// record can have it.
func network(address string) string {
	attempt := store.Attempt{Source: address}
	return cmp.Or(attempt.Network(), attempt.Record(true).Source)
}
