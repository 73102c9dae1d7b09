// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/bcrypt"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sharding-system/shardinguser-operator/internal/login"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// A lane is a story in which many runs happen, under one operator and one replica of the login side at a time.
type lane struct {
	*story
	*faults
	scenarios map[string]scenario
	op        *operator
	replica   *replica
	process   *process // the operator's
	beside    *process // the replica's: one of the two may stop while the other goes on
	side      attempts // the login side's store
	runs      int

	computed, compared int // by hashers of processes that were stopped

	ends   map[course]string
	hashed map[course]int // passwords
}

// A replica is the login side of a process.
type replica struct {
	*login.Service
	hasher *password.Hasher
}

// usual are the limits of logins.
var usual = store.Limits{Attempts: 5, Duration: 15 * time.Minute}

func newLane(t *testing.T, scenarios map[string]scenario) *lane {
	t.Helper()
	l := &lane{
		story: newStory(t), faults: &faults{probes: map[string]*probe{}}, scenarios: scenarios,
		ends: map[course]string{}, hashed: map[course]int{},
	}
	l.retry = 200 * time.Millisecond
	l.hostility()
	l.settings = append(l.settings, wholePool)
	l.openNotes() // past the wire
	l.side = l.attempts()
	wire, through := testenv.DatabaseWire(t, l.dsn)
	wire.Watch(l.cut)
	l.dsn = through
	l.restart()
	t.Cleanup(func() { l.replica.Wait() })
	return l
}

// restart starts an operator and a replica in place of those that are there.
func (l *lane) restart() {
	l.t.Helper()
	if l.op != nil {
		l.op.stop()
		l.replica.Wait()
		l.computed, l.compared = l.hashes(), l.checks()
	}
	l.process = l.next(l.story)
	l.op = l.start()
	l.beside = &process{faults: l.faults}
	l.replica = l.newReplica(&faultyAttempts{attempts: l.side, process: l.beside})
}

// hasStopped tells whether a process has stopped, as far as a run can tell. The others see it go when all of them have taken
// their step, and another one takes its place.
func (l *lane) hasStopped(r *run) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return r.stopped != nil && (r.stopped == l.process || r.stopped == l.beside)
}

// newReplica is the real login side on a store. It hashes as quickly as can be.
func (s *story) newReplica(side attempts) *replica {
	s.t.Helper()
	r := &replica{hasher: password.NewTestHasher(16)}
	var err error
	r.Service, err = login.New(login.Options{
		Attempts: side, Hasher: r.hasher, Limits: usual, Registry: prometheus.NewRegistry(),
		Log: slog.New(logr.ToSlogHandler(ctrl.Log)), Now: time.Now,
	})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	return r
}

// try is one attempt to log in.
func (r *replica) try(t *testing.T, username, password string) login.Outcome {
	t.Helper()
	return r.LogIn(t.Context(), login.Credentials{
		Username: username, Password: password, Source: netip.MustParseAddr("192.0.2.7"), UserAgent: "a test",
	}).Outcome
}

// hashes is how many passwords were hashed since the lane began.
func (l *lane) hashes() int { return l.computed + int(l.op.hasher.Computed()) } //nolint:gosec // a handful

// checks is how many passwords were compared with a hash at logins.
func (l *lane) checks() int { return l.compared + int(l.replica.hasher.Compared()) } //nolint:gosec // a handful

// run is a new run.
func (l *lane) run(c course, at boundary, fault fault) *run {
	l.runs++
	return &run{
		lane: l, scenario: l.scenarios[c.scenario], course: c, probe: probe{at: at, fault: fault}, name: fmt.Sprintf("run-%04d", l.runs),
		users: map[string]types.UID{}, known: map[string]string{"": "none", user.UnusablePassword: "unusable"},
	}
}

// happen lets runs happen side by side.
func (l *lane) happen(runs ...*run) {
	l.t.Helper()
	l.walk(runs, func(r *run) []step { return r.given })
	hashes, checks := l.hashes(), l.checks()
	for _, r := range runs {
		l.arm(&r.probe, r.name, r.rival())
	}
	l.walk(runs, (*run).steps)
	l.walk(runs, func(r *run) []step {
		if !r.fault.waits() || r.overtook {
			return nil
		}
		r.order, r.overtook = afterwards, true // its boundary never came
		return []step{r.overtakings[r.meanwhile]}
	})
	for _, r := range runs {
		l.disarm(&r.probe)
		hashes += len(r.seen().hashes)
		checks += r.checksOnce()
	}
	l.Expect(l.hashes()).To(gomega.Equal(hashes), "passwords hashed, where each is taken to the database")
	l.Expect(l.checks()).To(gomega.Equal(checks), "passwords compared at logins, where each was charged before")
}

// walk has runs take steps, each at the same time.
func (l *lane) walk(runs []*run, steps func(*run) []step) {
	l.t.Helper()
	todo := map[*run][]step{}
	for _, r := range runs {
		if list := steps(r); len(list) > 0 {
			todo[r] = list
		}
	}
	for len(todo) > 0 {
		var now []*run
		for _, r := range runs { // in their order
			if len(todo[r]) > 0 {
				now = append(now, r)
				r.now, r.isLast = todo[r][0], len(todo[r]) == 1
				r.now.do(r)
				todo[r] = todo[r][1:]
			}
		}
		l.settle(now)
		for _, r := range now {
			if len(todo[r]) == 0 {
				delete(todo, r)
			}
		}
	}
}

// settle waits until the runs have taken their step. Processes that were stopped are replaced when all have.
func (l *lane) settle(runs []*run) {
	l.t.Helper()
	for waiting := runs; len(waiting) > 0; {
		for _, r := range waiting {
			r.waits(func(g gomega.Gomega) {
				l.attend(runs)
				r.passes(g)
			})
		}
		l.Eventually(func() bool { l.attend(runs); return l.calm() }).WithTimeout(patience).WithPolling(seldom).Should(gomega.BeTrue())
		waiting = nil
		for _, r := range runs {
			if l.hasStopped(r) {
				waiting = append(waiting, r)
			}
		}
		if len(waiting) > 0 {
			l.restart()
		}
	}
}

// attend lets that happen which overtakes calls that wait, and then lets these go on: an operator's the next time, since it
// can do nothing about the account meanwhile; a login's when all is done.
func (l *lane) attend(runs []*run) {
	l.t.Helper()
	for _, r := range runs {
		overtaking := r.overtakings[r.meanwhile]
		switch {
		case !l.holds(&r.probe):
		case !r.overtook:
			overtaking.do(r)
			r.overtook = true
		case !r.at.logsIn() || holds(func(g gomega.Gomega) { overtaking.until(g, r) }):
			l.release(&r.probe)
		}
	}
}

// holds tells whether all that check expects holds now.
func holds(check func(gomega.Gomega)) (ok bool) {
	notYet := new(int)
	defer func() {
		if stopped := recover(); stopped != nil {
			if stopped != any(notYet) {
				panic(stopped)
			}
			ok = false
		}
	}()
	check(gomega.NewGomega(func(string, ...int) { panic(notYet) }))
	return true
}

// isOf tells whether a hash is one of this password.
func isOf(hash, plain string) bool {
	return bcrypt.CompareHashAndPassword([]byte(hash), []byte(plain)) == nil
}
