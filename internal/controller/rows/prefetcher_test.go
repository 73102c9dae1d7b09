// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sharding-system/shardinguser-operator/internal/store/memory"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// statements is a store in memory that tells of what it is asked, and can be held up before it answers.
type statements struct {
	*memory.Store
	mu    sync.Mutex
	asked [][]string
	begun chan struct{} // one for each statement
	held  chan struct{} // where it is not nil, an answer takes one of these
	fail  func() error  // where it is not nil
}

func newStatements(now func() time.Time, usernames ...string) *statements {
	s := &statements{Store: memory.New(now), begun: make(chan struct{}, 100)}
	for _, username := range usernames {
		s.put(username, 0)
	}
	return s
}

// put gives an account a count of failures, by which its versions are told apart.
func (s *statements) put(username string, failures int) {
	s.Edit(username, func(*user.Row) *user.Row { return &user.Row{Active: true, FailedLoginAttempts: failures} })
}

// Snapshot answers with what there was when it was asked.
func (s *statements) Snapshot(ctx context.Context, usernames []string) (map[string]user.Observed, error) {
	s.mu.Lock()
	s.asked = append(s.asked, usernames)
	s.mu.Unlock()
	read, err := s.Store.Snapshot(ctx, usernames)
	s.begun <- struct{}{}
	if s.held != nil {
		<-s.held
	}
	if s.fail != nil {
		return nil, s.fail()
	}
	return read, err
}

func (s *statements) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func failures(t *testing.T, r *ReadAhead, username string) int {
	t.Helper()
	observed, err := r.Observe(t.Context(), username)
	if err != nil {
		t.Fatal(err)
	}
	return observed.Row.FailedLoginAttempts
}

// plan has these accounts read ahead; what it returns tells of those that were.
func plan(t *testing.T, r *ReadAhead, usernames ...string) <-chan []reconcile.Request {
	t.Helper()
	users := map[string][]reconcile.Request{}
	for _, username := range usernames {
		users[username] = []reconcile.Request{request(username, 0)}
	}
	read := make(chan []reconcile.Request, 100)
	r.Plan(t.Context(), users, func(users []reconcile.Request, _ bool) { read <- users })
	return read
}

// moveClock moves the clock that r goes by.
func moveClock(r *ReadAhead, c *clock, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.move(d)
}

func TestWhoAsksWhileOthersDoIsAnsweredWithThem(t *testing.T) {
	var usernames []string
	for i := range 50 {
		usernames = append(usernames, fmt.Sprintf("user-%d", i))
	}
	s := newStatements(time.Now, usernames...)
	s.held = make(chan struct{}, 10)
	r := NewReadAhead(s)
	var asking sync.WaitGroup
	asking.Go(func() { failures(t, r, "user-0") })
	<-s.begun
	s.put("user-0", 1) // after the first statement had read it
	for _, username := range usernames {
		asking.Go(func() {
			want := 0
			if username == "user-0" {
				want = 1
			}
			if got := failures(t, r, username); got != want {
				t.Errorf("%s has %d failures, want %d", username, got, want)
			}
		})
	}
	for waiting := 0; waiting < len(usernames); {
		r.mu.Lock()
		if r.next != nil {
			waiting = len(r.next.usernames)
		}
		r.mu.Unlock()
		runtime.Gosched()
	}
	s.held <- struct{}{}
	s.held <- struct{}{}
	asking.Wait()
	if s.count() != 2 {
		t.Errorf("%d statements for one who asked, and 50 who came meanwhile; want 2", s.count())
	}
}

func TestErrorsReachAllWhoAskedAndNobodyElse(t *testing.T) {
	s := newStatements(time.Now, "alice")
	r := NewReadAhead(s)
	broken := errors.New("broken")
	s.fail = func() error { return broken }
	if _, err := r.Observe(t.Context(), "alice"); !errors.Is(err, broken) {
		t.Errorf("it failed with %v", err)
	}
	if users := <-plan(t, r, "alice"); len(users) != 1 {
		t.Errorf("enqueued where the reading ahead failed: %v", users)
	}
	if _, err := r.Observe(t.Context(), "alice"); !errors.Is(err, broken) {
		t.Errorf("it failed with %v after the reading ahead had", err)
	}
	s.fail = func() error { panic("a defect, made up for a test") }
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic did not reach who asked")
			}
		}()
		_, _ = r.Observe(t.Context(), "alice")
	}()
	s.fail = nil
	failures(t, r, "alice")

	s.held = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Observe(ctx, "alice"); !errors.Is(err, context.Canceled) {
		t.Errorf("whose context has ended got %v", err)
	}
	close(s.held)
}

func TestWhatWasReadAheadAnswersOnceAndOnlyWhileItIsTrue(t *testing.T) {
	c := newClock()
	s := newStatements(c.now, "alice", "bob", "carol", "dave", "erin")
	r := NewReadAhead(s)
	r.now = c.now
	all := []string{"alice", "bob", "carol", "dave", "erin", "nobody"}
	if users := <-plan(t, r, all...); len(users) != len(all) {
		t.Errorf("enqueued are %v", users)
	}
	read := c.now()
	moveClock(r, c, time.Second)
	observed, err := r.Observe(t.Context(), "alice")
	if err != nil || !observed.Now.Equal(read.Add(time.Second)) {
		t.Errorf("the database's clock is %v (%v), want %v", observed.Now, err, read.Add(time.Second))
	}
	if o, err := r.Observe(t.Context(), "nobody"); err != nil || o.Row != nil || s.count() != 1 {
		t.Errorf("who is nobody is %+v (%v) after %d statements", o, err, s.count())
	}

	s.put("alice", 1)
	if got := failures(t, r, "alice"); got != 1 || s.count() != 2 {
		t.Errorf("the second look has %d failures after %d statements, want 1 after 2", got, s.count())
	}
	s.put("bob", 1)
	r.Forget("bob")
	if got := failures(t, r, "bob"); got != 1 {
		t.Errorf("who was told of has %d failures, want 1", got)
	}
	_, _ = r.Apply(t.Context(), user.Change{Verb: user.Delete, Username: "carol"}) // whether or not it succeeds
	if s.put("carol", 1); failures(t, r, "carol") != 1 {
		t.Error("what was read before a change is told after it")
	}
	moveClock(r, c, aheadTime-time.Second-1)
	if failures(t, r, "dave"); s.count() != 4 {
		t.Errorf("%d statements, want 4", s.count())
	}
	moveClock(r, c, 1)
	if failures(t, r, "erin"); s.count() != 5 {
		t.Error("what is old was told")
	}
}

func TestAccountThatChangesWhileItIsReadAheadIsReadAgain(t *testing.T) {
	for name, change := range map[string]func(*ReadAhead){
		"it is told of":   func(r *ReadAhead) { r.Forget("alice") },
		"it is ours, too": func(r *ReadAhead) { _, _ = r.Apply(t.Context(), user.Change{Verb: user.Delete, Username: "alice"}) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStatements(time.Now, "alice", "bob")
			s.held = make(chan struct{})
			r := NewReadAhead(s)
			read := plan(t, r, "alice", "bob")
			<-s.begun
			s.put("alice", 1)
			change(r)
			close(s.held)
			<-read
			if got := failures(t, r, "alice"); got != 1 {
				t.Errorf("alice has %d failures, want 1", got)
			}
			if failures(t, r, "bob"); s.count() != 2 {
				t.Errorf("%d statements, want 2: bob was read ahead", s.count())
			}
		})
	}
}

func TestReadingAheadKeepsInStep(t *testing.T) {
	c := newClock()
	s := newStatements(c.now)
	r := NewReadAhead(s)
	r.now = c.now
	const chunks = 5
	var all []string
	for i := range chunks * aheadSize {
		all = append(all, fmt.Sprintf("user-%d", i))
	}
	read := plan(t, r, all...)
	seen := map[string]bool{}
	for range chunks {
		for _, u := range <-read {
			seen[u.Namespace] = true
			r.mu.Lock()
			left := len(r.ahead)
			r.mu.Unlock()
			if left > 2*aheadSize {
				t.Fatalf("%d are read ahead", left)
			}
			if _, err := r.Observe(t.Context(), u.Namespace); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(seen) != len(all) || s.count() != chunks {
		t.Errorf("%d of %d were read ahead in %d statements, want all of them in %d", len(seen), len(all), s.count(), chunks)
	}
}

func TestWhoIsPlannedAndAsksAlreadyIsReadWithTheOthers(t *testing.T) {
	s := newStatements(time.Now, "alice", "bob", "carol")
	s.held = make(chan struct{}, 10)
	r := NewReadAhead(s)
	var asking sync.WaitGroup
	asking.Go(func() { failures(t, r, "carol") })
	<-s.begun
	read := plan(t, r, "alice", "bob")
	asking.Go(func() { failures(t, r, "alice") })
	for waits := false; !waits; runtime.Gosched() {
		r.mu.Lock()
		waits = r.next != nil
		r.mu.Unlock()
	}
	s.held <- struct{}{}
	s.held <- struct{}{}
	asking.Wait()
	if users := <-read; len(users) != 2 {
		t.Errorf("enqueued are %v", users)
	}
	if failures(t, r, "bob"); s.count() != 2 {
		t.Errorf("%d statements, want 2", s.count())
	}
}

func TestPlanGoesOnWhereNobodyTakesWhatWasRead(t *testing.T) {
	c := newClock()
	s := newStatements(time.Now)
	r := NewReadAhead(s)
	r.now = c.now
	var all []string
	for i := range 2*aheadSize + 1 {
		all = append(all, fmt.Sprintf("user-%d", i))
	}
	read := plan(t, r, all...)
	if n := len(<-read); n != aheadSize {
		t.Errorf("%d are read at first, want %d", n, aheadSize)
	}
	for n := 0; n < aheadSize+1; {
		moveClock(r, c, aheadTime) // nobody came
		r.resume(t.Context())
		select {
		case users := <-read:
			n += len(users)
		default:
			runtime.Gosched()
		}
	}
}
