// SPDX-License-Identifier: Apache-2.0

package rows

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sharding-system/shardinguser-operator/internal/store/memory"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// statements is a store in memory that records its statements, and can be held up before it answers.
type statements struct {
	*memory.Store
	mu    sync.Mutex
	asked [][]string
	begun chan struct{} // one for each statement
	held  chan struct{} // if it is not nil, an answer takes one of these
	fail  func() error  // may be nil
}

func newStatements(now func() time.Time, usernames ...string) *statements {
	s := &statements{Store: memory.New(now), begun: make(chan struct{}, 100)}
	for _, username := range usernames {
		s.put(username, 0)
	}
	return s
}

// put gives an account a count of failures, which tells its versions apart.
func (s *statements) put(username string, failures int) {
	s.Edit(username, func(*user.Row) *user.Row { return &user.Row{Active: true, FailedLoginAttempts: failures} })
}

// Snapshot answers with the state at the time of the call.
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

func request(username string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: username, Name: "0"}}
}

func failures(t *testing.T, p *Prefetcher, username string) int {
	t.Helper()
	observed, err := p.Observe(t.Context(), username)
	if err != nil {
		t.Fatal(err)
	}
	return observed.Row.FailedLoginAttempts
}

// plan prefetches these accounts; the channel returns those that were fetched.
func plan(t *testing.T, p *Prefetcher, usernames ...string) <-chan []reconcile.Request {
	t.Helper()
	users := map[string][]reconcile.Request{}
	for _, username := range usernames {
		users[username] = []reconcile.Request{request(username)}
	}
	read := make(chan []reconcile.Request, 100)
	p.Plan(t.Context(), users, func(users []reconcile.Request, _ bool) { read <- users })
	return read
}

// moveClock moves the clock of p.
func moveClock(p *Prefetcher, c *clock, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.move(d)
}

func TestConcurrentReadsAreBatched(t *testing.T) {
	var usernames []string
	for i := range 50 {
		usernames = append(usernames, fmt.Sprintf("user-%d", i))
	}
	s := newStatements(time.Now, usernames...)
	s.held = make(chan struct{}, 10)
	p := NewPrefetcher(s)
	var asking sync.WaitGroup
	asking.Go(func() { failures(t, p, "user-0") })
	<-s.begun
	s.put("user-0", 1) // after the first statement had read it
	for _, username := range usernames {
		asking.Go(func() {
			want := 0
			if username == "user-0" {
				want = 1
			}
			if got := failures(t, p, username); got != want {
				t.Errorf("%s has %d failures, want %d", username, got, want)
			}
		})
	}
	for waiting := 0; waiting < len(usernames); {
		p.mu.Lock()
		if p.next != nil {
			waiting = len(p.next.usernames)
		}
		p.mu.Unlock()
		runtime.Gosched()
	}
	s.held <- struct{}{}
	s.held <- struct{}{}
	asking.Wait()
	if s.count() != 2 {
		t.Errorf("%d statements for one read, and 50 that came meanwhile; want 2", s.count())
	}
}

func TestErrorsReachAllReadsOfABatchAndNoOther(t *testing.T) {
	s := newStatements(time.Now, "alice")
	p := NewPrefetcher(s)
	broken := errors.New("broken")
	s.fail = func() error { return broken }
	if _, err := p.Observe(t.Context(), "alice"); !errors.Is(err, broken) {
		t.Errorf("it failed with %v", err)
	}
	if users := <-plan(t, p, "alice"); len(users) != 1 {
		t.Errorf("enqueued after a failed fetch: %v", users)
	}
	if _, err := p.Observe(t.Context(), "alice"); !errors.Is(err, broken) {
		t.Errorf("it failed with %v after the fetch had", err)
	}
	s.fail = func() error { panic("a defect, made up for a test") }
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic did not reach the reader")
			}
		}()
		_, _ = p.Observe(t.Context(), "alice")
	}()
	s.fail = nil
	failures(t, p, "alice")

	s.held = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Observe(ctx, "alice"); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context the error is %v", err)
	}
	close(s.held)
}

func TestAPrefetchedAccountAnswersOnceAndOnlyWhileItIsTrue(t *testing.T) {
	c := newClock()
	s := newStatements(c.now, "alice", "bob", "carol", "dave", "erin")
	p := NewPrefetcher(s)
	p.now = c.now
	all := []string{"alice", "bob", "carol", "dave", "erin", "nobody"}
	if users := <-plan(t, p, all...); len(users) != len(all) {
		t.Errorf("enqueued are %v", users)
	}
	read := c.now()
	moveClock(p, c, time.Second)
	observed, err := p.Observe(t.Context(), "alice")
	if err != nil || !observed.Now.Equal(read.Add(time.Second)) {
		t.Errorf("the database's clock is %v (%v), want %v", observed.Now, err, read.Add(time.Second))
	}
	if o, err := p.Observe(t.Context(), "nobody"); err != nil || o.Row != nil || s.count() != 1 {
		t.Errorf("an unknown account is %+v (%v) after %d statements", o, err, s.count())
	}

	s.put("alice", 1)
	if got := failures(t, p, "alice"); got != 1 || s.count() != 2 {
		t.Errorf("the second read has %d failures after %d statements, want 1 after 2", got, s.count())
	}
	s.put("bob", 1)
	p.Forget("bob")
	if got := failures(t, p, "bob"); got != 1 {
		t.Errorf("the reported account has %d failures, want 1", got)
	}
	_, _ = p.Apply(t.Context(), user.Change{Verb: user.Delete, Username: "carol"}) // whether or not it succeeds
	if s.put("carol", 1); failures(t, p, "carol") != 1 {
		t.Error("an account from before a change is returned after it")
	}
	moveClock(p, c, prefetchedFor-time.Second-1)
	if failures(t, p, "dave"); s.count() != 4 {
		t.Errorf("%d statements, want 4", s.count())
	}
	moveClock(p, c, 1)
	if failures(t, p, "erin"); s.count() != 5 {
		t.Error("an old account is returned")
	}
}

func TestAccountThatChangesWhileItIsPrefetchedIsReadAgain(t *testing.T) {
	for name, change := range map[string]func(*Prefetcher){
		"it is reported": func(p *Prefetcher) { p.Forget("alice") },
		"we change it":   func(p *Prefetcher) { _, _ = p.Apply(t.Context(), user.Change{Verb: user.Delete, Username: "alice"}) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStatements(time.Now, "alice", "bob")
			s.held = make(chan struct{})
			p := NewPrefetcher(s)
			read := plan(t, p, "alice", "bob")
			<-s.begun
			s.put("alice", 1)
			change(p)
			close(s.held)
			<-read
			if got := failures(t, p, "alice"); got != 1 {
				t.Errorf("alice has %d failures, want 1", got)
			}
			if failures(t, p, "bob"); s.count() != 2 {
				t.Errorf("%d statements, want 2: bob was prefetched", s.count())
			}
		})
	}
}

func TestPrefetchingKeepsInStep(t *testing.T) {
	c := newClock()
	s := newStatements(c.now)
	p := NewPrefetcher(s)
	p.now = c.now
	const chunks = 5
	var all []string
	for i := range chunks * batchSize {
		all = append(all, fmt.Sprintf("user-%d", i))
	}
	read := plan(t, p, all...)
	seen := map[string]bool{}
	for range chunks {
		for _, u := range <-read {
			seen[u.Namespace] = true
			p.mu.Lock()
			left := len(p.ready)
			p.mu.Unlock()
			if left > 2*batchSize {
				t.Fatalf("%d are prefetched", left)
			}
			if _, err := p.Observe(t.Context(), u.Namespace); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(seen) != len(all) || s.count() != chunks {
		t.Errorf("%d of %d were prefetched in %d statements, want all of them in %d", len(seen), len(all), s.count(), chunks)
	}
}

func TestAPlannedAccountThatIsReadAlreadyIsInTheBatch(t *testing.T) {
	s := newStatements(time.Now, "alice", "bob", "carol")
	s.held = make(chan struct{}, 10)
	p := NewPrefetcher(s)
	var asking sync.WaitGroup
	asking.Go(func() { failures(t, p, "carol") })
	<-s.begun
	read := plan(t, p, "alice", "bob")
	asking.Go(func() { failures(t, p, "alice") })
	for waits := false; !waits; runtime.Gosched() {
		p.mu.Lock()
		waits = p.next != nil
		p.mu.Unlock()
	}
	s.held <- struct{}{}
	s.held <- struct{}{}
	asking.Wait()
	if users := <-read; len(users) != 2 {
		t.Errorf("enqueued are %v", users)
	}
	if failures(t, p, "bob"); s.count() != 2 {
		t.Errorf("%d statements, want 2", s.count())
	}
}

func TestThePlanContinuesIfFetchedAccountsAreNotRead(t *testing.T) {
	c := newClock()
	s := newStatements(time.Now)
	p := NewPrefetcher(s)
	p.now = c.now
	var all []string
	for i := range 2*batchSize + 1 {
		all = append(all, fmt.Sprintf("user-%d", i))
	}
	read := plan(t, p, all...)
	if n := len(<-read); n != batchSize {
		t.Errorf("%d are read at first, want %d", n, batchSize)
	}
	for n := 0; n < batchSize+1; {
		moveClock(p, c, prefetchedFor) // no user came
		p.resume(t.Context())
		select {
		case users := <-read:
			n += len(users)
		default:
			runtime.Gosched()
		}
	}
}
