// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// TestEveryScenarioEndsTheSameDespiteAFaultAtAnyBoundary runs each scenario once undisturbed, which shows its
// boundaries and its end, and then once for every boundary and every fault: the end is the same, and no password is hashed
// twice that was stored once. The faults are:
//
//   - A call fails, before it is made or after: it is tried again.
//   - The process stops there: another one takes its place.
//   - A call takes so long that something else overtakes it, which people or other programs do to the account meanwhile. The
//     end is that of an undisturbed run in which it came afterwards; for logins, before, between charge and settlement, or
//     afterwards.
//   - The connection that carries a statement is cut off, before the statement or before its answer.
//
// After a call that only reads nothing is different from before it, so such a boundary fails and stops in one way, a
// write in two. To be overtaken after a call is to be overtaken before the next one, so only the last one is overtaken in
// both ways; a read is out of date by the one that follows it.
//
// A login that is cut off is not tried again: the end is that of a run in which it was not made, or was charged and never
// settled.
//
// A short run takes the few disturbed runs that sample chooses.
func TestEveryScenarioEndsTheSameDespiteAFaultAtAnyBoundary(t *testing.T) {
	t.Parallel()
	disturbEverywhere(t, scenarios)
}

func TestSuspensionEndsTheSameDespiteAFaultAtAnyBoundary(t *testing.T) {
	t.Parallel()
	disturbEverywhere(t, map[string]scenario{"suspension by a policy": suspension})
}

// A scenario is what people and other programs do to an account, step by step.
type scenario struct {
	given []step // before anything fails
	when  []step

	// logsIn is the word of a password with which a login happens, in place of what the only step of when does.
	logsIn string

	// overtakings are what may overtake any call, by the sentence's end that names it.
	overtakings map[string]step

	wired bool // its statements are cut off on the wire, too
}

// A step ends when until holds, by what the operator does last because of it.
type step struct {
	do    func(*run)
	until func(gomega.Gomega, *run)
}

// A course is what happens to an account, apart from faults, and so what determines its end.
type course struct {
	scenario  string
	fate      fate   // of its login
	meanwhile string // what overtakes it; "" for nothing
	order     order  // when
}

// A fate is how far a login gets.
type fate string

const (
	settled   fate = ""
	unsettled fate = "charged only"
	unmade    fate = "never made"
)

// An order says when that happens which overtakes.
type order string

const (
	afterwards order = "afterwards"
	beforehand order = "beforehand"
	between    order = "between charge and settlement"
)

// disturbEverywhere has everything happen in few batches, of runs side by side: so hundreds of them start few operators.
func disturbEverywhere(t *testing.T, scenarios map[string]scenario) {
	t.Helper()
	l := newLane(t, scenarios)
	names := slices.Sorted(maps.Keys(scenarios))

	var references []*run
	for _, name := range names {
		references = append(references, l.run(course{scenario: name}, boundary{}, noFault))
	}
	l.happen(references...)
	boundaries, batches := map[string][]boundary{}, map[string][]*run{}
	for _, r := range references {
		saw := r.seen()
		boundaries[r.course.scenario] = saw.calls
		l.disturbAll(batches, r.course.scenario, saw.calls, saw.counts[callStatement])
	}
	if testing.Short() {
		batches = sample(batches)
	}
	references = append(references, l.otherCourses(names, batches)...)
	l.happen(references[len(names):]...)
	for _, r := range references {
		l.hashed[r.course] = len(r.seen().hashes)
	}
	var all []*run
	for _, kind := range slices.Sorted(maps.Keys(batches)) {
		l.happen(batches[kind]...)
		all = append(all, batches[kind]...)
	}

	for _, r := range references {
		l.ends[r.course] = r.end(l)
	}
	reached := 0
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			here, of := 0, 0
			for _, r := range all {
				if r.course.scenario == name {
					of++
					if r.judge(t) {
						here++
					}
				}
			}
			reached += here
			t.Logf("%d boundaries, %d disturbed runs, %d of which came to their boundary: %v", len(boundaries[name]), of, here, boundaries[name])
		})
	}
	total := 0
	for _, list := range boundaries {
		total += len(list)
	}
	testenv.Counted(t, "%d scenarios with %d boundaries: %d runs, %d of them undisturbed, %d whose calls fail, %d whose processes stop, "+
		"%d overtaken, %d cut off on the wire; %d of those disturbed came to their boundary", len(names), total, len(references)+len(all), len(references),
		len(batches["failing"]), len(batches["stopping"]), len(batches["overtaken"])+len(batches["overtaken logins"]), len(batches["cut off"]), reached)
}

// sample chooses of all disturbed runs a few in which each fault strikes each kind of call, each thing that may overtake does, and
// each scenario is disturbed. It takes again and again the first of the runs that show most of what none before it shows.
func sample(batches map[string][]*run) map[string][]*run {
	chosen, shown := map[string][]*run{}, map[string]bool{}
	for {
		var best *run
		var of string
		most := 0
		for _, kind := range slices.Sorted(maps.Keys(batches)) {
			for _, r := range batches[kind] {
				if n := len(r.shows(shown)); n > most {
					best, of, most = r, kind, n
				}
			}
		}
		if best == nil {
			return chosen
		}
		for _, what := range best.shows(shown) {
			shown[what] = true
		}
		chosen[of] = append(chosen[of], best)
	}
}

// shows is what a disturbed run shows, without what has been shown.
func (r *run) shows(shown map[string]bool) []string {
	all := []string{"in " + r.course.scenario, r.at.call + " " + string(r.fault), "overtaken by " + r.meanwhile}
	if r.at.call != callStatement && r.at.nth > 1 {
		all = all[:1] // how often a call is made may depend on how events come together
	}
	return slices.DeleteFunc(all, func(what string) bool { return shown[what] })
}

// otherCourses are the undisturbed runs, but for the plainest, whose ends disturbed runs are compared with; in a full run those of
// all courses.
func (l *lane) otherCourses(names []string, batches map[string][]*run) (references []*run) {
	needed := map[course]bool{}
	for _, batch := range batches {
		for _, r := range batch {
			needed[r.course] = true
		}
	}
	for _, name := range names {
		for _, c := range l.courses(name)[1:] {
			if needed[c] || !testing.Short() {
				references = append(references, l.run(c, boundary{}, noFault))
			}
		}
	}
	return references
}

// courses are those that a scenario can take, the plainest first.
func (l *lane) courses(name string) []course {
	s, list := l.scenarios[name], []course{{scenario: name}}
	if s.logsIn != "" {
		list = append(list, course{scenario: name, fate: unsettled}, course{scenario: name, fate: unmade})
	}
	for _, meanwhile := range slices.Sorted(maps.Keys(s.overtakings)) {
		list = append(list, course{scenario: name, meanwhile: meanwhile, order: afterwards})
		if s.logsIn != "" {
			list = append(list, course{scenario: name, meanwhile: meanwhile, order: beforehand},
				course{scenario: name, meanwhile: meanwhile, order: between})
		}
	}
	return list
}

// disturbAll adds the runs that are disturbed at each of a scenario's boundaries and statements.
func (l *lane) disturbAll(batches map[string][]*run, name string, boundaries []boundary, statements int) {
	for i, at := range boundaries {
		l.disturb(batches, name, at, i, i == len(boundaries)-1)
	}
	if !l.scenarios[name].wired {
		return
	}
	for nth := range statements {
		at := boundary{call: callStatement, nth: nth + 1}
		batches["cut off"] = append(batches["cut off"], l.faulty(name, at, failsBefore, ""), l.faulty(name, at, failsAfter, ""))
	}
}

// disturb adds the runs that are disturbed at a scenario's ith boundary. Overtaking calls take turns, but where logins are
// overtaken, which is decided by what overtakes them.
func (l *lane) disturb(batches map[string][]*run, name string, at boundary, i int, isLast bool) {
	add := func(kind string, fault fault, meanwhile string) {
		batches[kind] = append(batches[kind], l.faulty(name, at, fault, meanwhile))
	}
	add("failing", failsBefore, "")
	add("stopping", stopsBefore, "")
	if at.writes() {
		add("failing", failsAfter, "")
		add("stopping", stopsAfter, "")
	}
	meanwhile := slices.Sorted(maps.Keys(l.scenarios[name].overtakings))
	if at.logsIn() { // by themselves: what is done about them waits for them
		for _, m := range meanwhile {
			add("overtaken logins", waitsBefore, m)
			add("overtaken logins", waitsAfter, m)
		}
		return
	}
	if n := len(meanwhile); n > 0 {
		add("overtaken", waitsBefore, meanwhile[i%n])
		if isLast {
			add("overtaken", waitsAfter, meanwhile[(i+1)%n])
		}
	}
}

// faulty is a run with a fault at a boundary, whose course follows from both.
func (l *lane) faulty(name string, at boundary, fault fault, meanwhile string) *run {
	c := course{scenario: name, meanwhile: meanwhile}
	switch {
	case fault.waits() && at.call == callCharge && fault.isBefore():
		c.order = beforehand
	case fault.waits() && (at.call == callCharge || at.call == callSettle && fault.isBefore()):
		c.order = between
	case fault.waits():
		c.order = afterwards
	case at.call == callCharge && fault.isBefore():
		c.fate = unmade
	case at.call == callCharge, at.call == callSettle && fault.isBefore():
		c.fate = unsettled
	}
	return l.run(c, at, fault)
}
