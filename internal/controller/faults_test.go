// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// A boundary is where a process of ours leaves itself: its nth call of a kind, about one account.
type boundary struct {
	call string
	nth  int
}

func (b boundary) String() string { return fmt.Sprintf("%s %d", b.call, b.nth) }

// writes tells whether the call changes something.
func (b boundary) writes() bool {
	return strings.HasPrefix(b.call, "apply") || strings.HasPrefix(b.call, http.MethodPatch) || b.logsIn()
}

// logsIn reports whether the call is one of the login side.
func (b boundary) logsIn() bool { return b.call == callCharge || b.call == callSettle }

const (
	callCharge = "charge"
	callSettle = "settle"

	// callStatement is a statement on the wire to Postgres, by any program.
	callStatement = "statement"
)

// A fault is what happens at a boundary.
type fault string

const (
	noFault     fault = ""
	failsBefore fault = "fails before" // the call is not made
	failsAfter  fault = "fails after"  // the call is made, and its answer is lost
	stopsBefore fault = "stops before" // and nothing of this process gets through any more
	stopsAfter  fault = "stops after"
	waitsBefore fault = "is overtaken before" // the call is made when something else has happened
	waitsAfter  fault = "is overtaken after"  // the call is made, and answers when something else has happened
)

// isBefore tells whether the fault comes before the call.
func (f fault) isBefore() bool { return f == failsBefore || f == stopsBefore || f == waitsBefore }

// waits tells whether the fault is only a delay.
func (f fault) waits() bool { return f == waitsBefore || f == waitsAfter }

var (
	errFault   = errors.New("made up for a test")
	errStopped = fmt.Errorf("the process was stopped: %w", context.Canceled)
)

// A probe notes the calls about one account, and has one fault for one of them.
type probe struct {
	at    boundary
	fault fault

	armed   bool
	counts  map[string]int
	calls   []boundary
	hashes  map[string]bool // that were taken to the database
	reached bool
	lost    bool          // a hash was computed and did not get into the database
	stopped *process      // the fault stopped it, as far as this account can tell
	held    chan struct{} // where a call waits until it is closed
}

// faults stand between the processes of a story and all that they call, but for the cache, which is their own memory.
type faults struct {
	mu       sync.Mutex
	probes   map[string]*probe // by the names of accounts, their resources and their Secrets
	underWay int               // calls about those that are armed
	last     time.Time         // when one of them began or ended
}

// arm has the calls about the accounts of these names watched by p from now on.
func (f *faults) arm(p *probe, names ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.armed, p.counts, p.hashes = true, map[string]int{}, map[string]bool{}
	for _, name := range names {
		f.probes[name] = p
	}
}

// disarm ends that: a boundary that has not come by then is none. A call that waits goes on.
func (f *faults) disarm(p *probe) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.armed = false
	if p.held != nil {
		close(p.held)
		p.held = nil
	}
}

// holds tells whether a call of p's account waits.
func (f *faults) holds(p *probe) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return p.held != nil
}

// release lets the call that waits go on.
func (f *faults) release(p *probe) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(p.held)
	p.held = nil
}

// calm tells whether for a while there was no call about an account that is watched.
func (f *faults) calm() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.underWay == 0 && time.Since(f.last) > 150*time.Millisecond
}

// A process is one operator's way to the API server and the database, or that of a replica of the login side beside it.
type process struct{ *faults }

// call makes a call about an account, unless a fault is in its way. Carries is the new hash that it takes along, or "".
func (p *process) call(ctx context.Context, what, name, carries string, do func() error) error {
	c, err := p.enter(boundary{call: what}, name, carries)
	if c == nil {
		if err != nil {
			return err
		}
		return do()
	}
	if c.strikes == waitsBefore {
		err = c.wait(ctx)
	}
	if err == nil {
		err = do()
	}
	if c.strikes == waitsAfter {
		err = errors.Join(err, c.wait(ctx))
	}
	return p.leave(c, err)
}

// A crossing is a call about an account that is watched.
type crossing struct {
	watched *probe
	strikes fault // after or while the call is made
	held    chan struct{}
}

func (c *crossing) wait(ctx context.Context) error {
	select {
	case <-c.held:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter counts a call. The error is that of a fault that strikes before it.
func (p *process) enter(here boundary, name, carries string) (*crossing, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	watched := p.probes[name]
	switch {
	case watched == nil:
		return nil, nil
	case watched.stopped == p:
		return nil, errStopped
	case !watched.armed:
		return nil, nil
	}
	p.last = time.Now()
	watched.counts[here.call]++
	here.nth = watched.counts[here.call]
	watched.calls = append(watched.calls, here)
	if carries != "" {
		watched.hashes[carries] = true
	}
	c := &crossing{watched: watched}
	if here == watched.at && watched.fault != noFault {
		watched.reached = true
		switch watched.fault {
		case failsBefore:
			return nil, errFault
		case stopsBefore:
			watched.stopped, watched.lost = p, carries != ""
			return nil, errStopped
		case waitsBefore, waitsAfter:
			c.held = make(chan struct{})
			watched.held = c.held
		case noFault, failsAfter, stopsAfter:
		}
		c.strikes = watched.fault
	}
	p.underWay++
	return c, nil
}

func (p *process) leave(c *crossing, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.underWay--
	p.last = time.Now()
	if c.strikes == stopsAfter {
		c.watched.stopped = p
	}
	switch {
	case c.watched.stopped == p:
		return errStopped // a process that is gone hears no answer
	case c.strikes == failsAfter:
		return errFault
	}
	return err
}

// cut judges a statement on the wire: where it names accounts that are watched, it is one of theirs.
func (f *faults) cut(request []byte) testenv.Cut {
	f.mu.Lock()
	defer f.mu.Unlock()
	verdict := testenv.NoCut
	seen := map[*probe]bool{}
	for _, name := range runName.FindAll(request, -1) {
		watched := f.probes[string(name)]
		if watched == nil || !watched.armed || seen[watched] {
			continue
		}
		seen[watched] = true
		watched.counts[callStatement]++
		if watched.at != (boundary{call: callStatement, nth: watched.counts[callStatement]}) {
			continue
		}
		watched.reached = true
		verdict = testenv.CutAfter
		if watched.fault.isBefore() {
			verdict = testenv.CutBefore
		}
	}
	return verdict
}

// runName is how the accounts of runs are called.
var runName = regexp.MustCompile(`\brun-\d{4}\b`)
