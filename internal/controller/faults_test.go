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

	"k8s.io/client-go/rest"

	"github.com/sharding-system/shardinguser-operator/internal/controller"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// A boundary is where the operator leaves itself: its nth call of a kind, about one account.
type boundary struct {
	call string
	nth  int
}

func (b boundary) String() string { return fmt.Sprintf("%s %d", b.call, b.nth) }

// writes tells whether the call changes something.
func (b boundary) writes() bool {
	return strings.HasPrefix(b.call, "apply") || strings.HasPrefix(b.call, http.MethodPatch)
}

// A fault is what happens at a boundary.
type fault string

const (
	noFault     fault = ""
	failsBefore fault = "fails before" // the call is not made
	failsAfter  fault = "fails after"  // the call is made, and its answer is lost
	stopsBefore fault = "stops before" // and nothing of this operator gets through any more
	stopsAfter  fault = "stops after"
)

var (
	errFault   = errors.New("made up for a test")
	errStopped = fmt.Errorf("the operator was stopped: %w", context.Canceled)
)

// A probe notes the calls about one account, and has one fault for one of them.
type probe struct {
	at    boundary
	fault fault

	armed   bool
	counts  map[string]int
	calls   []boundary
	reached bool
	lost    bool // a hash was computed and did not get into the database
}

// faults stand between the operators of a story and all that they call, but for the cache, which is their own memory.
type faults struct {
	mu     sync.Mutex
	probes map[string]*probe // by the names of accounts, their resources and their Secrets
}

// arm has the calls about the accounts of these names watched by p from now on.
func (f *faults) arm(p *probe, names ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.armed, p.counts = true, map[string]int{}
	for _, name := range names {
		f.probes[name] = p
	}
}

// disarm ends that, and returns what p saw.
func (f *faults) disarm(p *probe) probe {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.armed = false
	return *p
}

// A process is one operator's way to the API server and the database.
type process struct {
	*faults
	stopped bool // guarded by the faults' lock
}

// next has the operator of the story that is started next go through the faults.
func (f *faults) next(s *story) *process {
	p := &process{faults: f}
	s.wrap = func(accounts controller.Accounts) controller.Accounts {
		return &faultyAccounts{accounts: accounts, process: p}
	}
	s.reach = func(config *rest.Config) {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) { return p.roundTrip(next, r) })
		})
	}
	return p
}

// isStopped tells whether a fault has stopped the operator.
func (p *process) isStopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped
}

// call makes a call about an account, unless a fault is in its way. Carries tells that it takes a new hash along.
func (p *process) call(what, name string, carries bool, do func() error) error {
	strikes, err := p.enter(what, name, carries)
	if err != nil {
		return err
	}
	err = do()
	return p.leave(strikes, err)
}

// enter counts a call, and answers with the fault that strikes after it, and the error of one that strikes before.
func (p *process) enter(what, name string, carries bool) (fault, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return noFault, errStopped
	}
	watched := p.probes[name]
	if watched == nil || !watched.armed {
		return noFault, nil
	}
	watched.counts[what]++
	here := boundary{call: what, nth: watched.counts[what]}
	watched.calls = append(watched.calls, here)
	if here != watched.at || watched.fault == noFault {
		return noFault, nil
	}
	watched.reached = true
	switch watched.fault {
	case failsBefore:
		return noFault, errFault
	case stopsBefore:
		p.stopped, watched.lost = true, carries
		return noFault, errStopped
	default:
		return watched.fault, nil
	}
}

func (p *process) leave(strikes fault, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = p.stopped || strikes == stopsAfter
	switch {
	case p.stopped:
		return errStopped // a process that is gone hears no answer
	case strikes == failsAfter:
		return errFault
	}
	return err
}

// aboutOne is a request about one resource, its status or one Secret.
var aboutOne = regexp.MustCompile(`/namespaces/[^/]+/((shardinguser|secret)s)/([^/]+)(/status)?$`)

func (p *process) roundTrip(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	what, name := "any", "" // nobody's: a watch, say
	if m := aboutOne.FindStringSubmatch(r.URL.Path); m != nil {
		what, name = r.Method+" "+m[1]+m[4], m[3]
	}
	var response *http.Response
	err := p.call(what, name, false, func() (err error) {
		response, err = next.RoundTrip(r) //nolint:bodyclose // closed below, or by who asked
		return err
	})
	if err != nil && response != nil {
		_ = response.Body.Close()
	}
	if err != nil {
		return nil, err
	}
	return response, nil
}

// faultyAccounts is a store behind faults. A failure is that of a database that is away: it does not tell whether the change
// was made.
type faultyAccounts struct {
	accounts controller.Accounts
	process  *process
}

func (a *faultyAccounts) Observe(ctx context.Context, username string) (observed user.Observed, err error) {
	err = a.process.call("observe", username, false, func() (err error) {
		observed, err = a.accounts.Observe(ctx, username)
		return err
	})
	return observed, unavailable(err)
}

func (a *faultyAccounts) Apply(ctx context.Context, change user.Change) error {
	carries := change.Password != nil && change.Password.New
	return unavailable(a.process.call("apply "+string(change.Verb), change.Username, carries, func() error {
		return a.accounts.Apply(ctx, change)
	}))
}

func unavailable(err error) error {
	if errors.Is(err, errFault) {
		return &store.UnavailableError{Sentence: "This failure is made up for a test.", Err: err}
	}
	return err
}
