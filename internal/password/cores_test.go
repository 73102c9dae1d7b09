// SPDX-License-Identifier: Apache-2.0

package password

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/bcrypt"
	"github.com/sharding-system/shardinguser-operator/internal/fair"
)

// recorder is an engine that computes nothing and keeps the names of the jobs of each batch.
type recorder struct {
	mu      sync.Mutex
	batches []string
	step    chan struct{} // each batch receives from it before it ends, where it is not nil
}

func (r *recorder) engine(lanes int) engine {
	return engine{lanes: lanes, queue: 16, compute: func(batch []*job) {
		var names []string
		for _, j := range batch {
			names = append(names, string(j.plain))
		}
		r.mu.Lock()
		r.batches = append(r.batches, strings.Join(names, " "))
		r.mu.Unlock()
		if r.step != nil {
			<-r.step
		}
	}}
}

// begun returns what has begun since the last call.
func (r *recorder) begun() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	begun := r.batches
	r.batches = nil
	return begun
}

// named returns a job of a name and class: "L1" is a login and "R2" a reconcile, at bcrypt's lowest cost. "L3!" is a
// login at the next cost.
func named(name string) (class, *job) {
	as, cost := forReconcile, bcrypt.MinCost
	if strings.HasPrefix(name, "L") {
		as = forLogin
	}
	if strings.HasSuffix(name, "!") {
		cost++
	}
	return as, &job{plain: []byte(name), setting: bcrypt.NewSetting(cost)}
}

// arrive starts jobs one after another, and returns when each computes or waits.
func arrive(t *testing.T, c *cores, names ...string) {
	t.Helper()
	for _, name := range names {
		as, j := named(name)
		go func() {
			if err := c.do(t.Context(), as, j); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}()
		synctest.Wait()
	}
}

// The batches that one core computes from a queue.
func TestOrderAndBatchesOfJobs(t *testing.T) {
	for name, tt := range map[string]struct {
		lanes, patience int
		line            string
		want            []string // the batches, in order
	}{
		"one job is alone": {
			4, 99, "L1", []string{"L1"},
		},
		"four go together, in the order in which they came": {
			4, 99, "L1 L2 L3 L4 L5 L6", []string{"L1 L2 L3 L4", "L5 L6"},
		},
		"reconciles go together as well": {
			4, 99, "R1 R2 R3 R4 R5", []string{"R1 R2 R3 R4", "R5"},
		},
		"logins come first": {
			4, 99, "R1 R2 L1 L2 L3 L4", []string{"L1 L2 L3 L4", "R1 R2"},
		},
		"reconciles get the cores that logins leave": {
			4, 99, "R1 R2 R3 L1 L2", []string{"L1 L2 R1 R2", "R3"},
		},
		"one lane is one after the other": {
			1, 99, "R1 L1 R2 L2", []string{"L1", "L2", "R1", "R2"},
		},
		"a reconcile has its turn after as many logins as can wait": {
			1, 2, "R1 R2 L1 L2 L3 L4 L5", []string{"L1", "L2", "R1", "L3", "L4", "R2", "L5"},
		},
		"logins fill its batch": {
			4, 2, "R1 R2 R3 L1 L2 L3 L4 L5 L6 L7 L8", []string{"L1 L2 L3 L4", "R1 L5 L6 L7", "R2 L8 R3"},
		},
		"other costs go by themselves": {
			4, 99, "L1 L2! L3 L4! L5", []string{"L1 L3 L5", "L2! L4!"},
		},
		"the first in the queue does not starve": {
			2, 99, "L1 L2! L3 L4 L5", []string{"L1 L3", "L2!", "L4 L5"},
		},
		"a free lane takes a reconcile of the same cost": {
			4, 99, "R1! R2 L1", []string{"L1 R2", "R1!"},
		},
		"which is not the turn of those before it": {
			2, 3, "R1! R2 L1 L2! L3! L4! L5!", []string{"L1 R2", "L2! L3!", "R1! L4!", "L5!"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r recorder
				c := &cores{engine: r.engine(tt.lanes), patience: tt.patience}
				arrive(t, c, strings.Fields(tt.line)...)
				c.dispatch()
				synctest.Wait()
				if got := r.begun(); !slices.Equal(got, tt.want) {
					t.Errorf("the batches are %q, want %q", got, tt.want)
				}
				if c.free != 1 {
					t.Errorf("%d cores are free in the end, want 1", c.free)
				}
			})
		})
	}
}

// A job that finds a free core starts at once, and later jobs do not join it.
func TestALoneJobStartsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := recorder{step: make(chan struct{})}
		c := &cores{engine: r.engine(4), free: 2, patience: 99}
		begins := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if got := r.begun(); !slices.Equal(got, want) {
				t.Errorf("%q began, want %q", got, want)
			}
		}
		arrive(t, c, "L1")
		begins("L1")
		arrive(t, c, "R1")
		begins("R1")
		arrive(t, c, "L2", "R2", "L3", "R3", "L4", "L5")
		begins()
		r.step <- struct{}{} // one of the first two
		begins("L2 L3 L4 L5")
		r.step <- struct{}{}
		synctest.Wait()
		r.step <- struct{}{}
		begins("R2 R3")
		r.step <- struct{}{}
		synctest.Wait()
		if c.free != 2 {
			t.Errorf("%d cores are free, want 2", c.free)
		}
		arrive(t, c, "L6")
		begins("L6")
		r.step <- struct{}{}
	})
}

// Two cores compute eight of 64 jobs at a time, whatever they are.
func TestNumberOfCoresIsLimited(t *testing.T) {
	const jobs = 64
	synctest.Test(t, func(t *testing.T) {
		r := recorder{step: make(chan struct{})}
		h := quick(2)
		h.setEngine(r.engine(4))
		for range jobs {
			go func() {
				if ok, err := h.Matches(t.Context(), "$2a$10$"+tail, []byte("secret")); ok || err != nil {
					t.Errorf("Matches = %v, %v", ok, err)
				}
			}()
		}
		synctest.Wait()
		if got := r.begun(); !slices.Equal(got, []string{"secret", "secret"}) {
			t.Errorf("%q began, want two, alone", got)
		}
		left := jobs - 2
		for left > 0 {
			r.step <- struct{}{}
			synctest.Wait()
			got := r.begun()
			if len(got) != 1 || strings.Count(got[0], "secret") != min(4, left) {
				t.Fatalf("%q began while %d are left", got, left)
			}
			left -= strings.Count(got[0], "secret")
		}
		close(r.step)
		synctest.Wait()
		if got := h.Compared(); got != jobs {
			t.Errorf("%d jobs counted, want %d", got, jobs)
		}
	})
}

// A job that is canceled while it waits is dropped. A job that is canceled later gets its result.
func TestABegunJobRunsToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := recorder{step: make(chan struct{})}
		c := &cores{engine: r.engine(2), patience: 99}
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, 3)
		for range 3 {
			go func() {
				as, j := named("L")
				results <- c.do(ctx, as, j)
			}()
		}
		synctest.Wait()
		c.dispatch()
		synctest.Wait()
		cancel()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("the waiting job: %v", err)
		}
		synctest.Wait()
		select {
		case err := <-results:
			t.Errorf("what had begun ended with %v before it was done", err)
		default:
		}
		r.step <- struct{}{}
		for range 2 {
			if err := <-results; err != nil {
				t.Errorf("what had begun: %v", err)
			}
		}
		synctest.Wait()
		if got := r.begun(); !slices.Equal(got, []string{"L L"}) || c.free != 1 {
			t.Errorf("%q were computed, and %d cores are free", got, c.free)
		}
	})
}

func TestACoreIsNotLostToACanceledJob(t *testing.T) {
	for range 200 { // a race between the core and the end of the context
		synctest.Test(t, func(t *testing.T) {
			var r recorder
			c := &cores{engine: r.engine(2), patience: 1}
			ctx, cancel := context.WithCancel(t.Context())
			var computed atomic.Int64
			for range 5 {
				go func() {
					as, j := named("L")
					if c.do(ctx, as, j) == nil {
						computed.Add(1)
					}
				}()
			}
			go cancel()
			go c.dispatch()
			synctest.Wait()
			if c.free != 1 || len(c.queues[forLogin].waiters) != 0 {
				t.Fatalf("%d cores are free and %d wait, want 1 and none", c.free, len(c.queues[forLogin].waiters))
			}
			if got := strings.Count(strings.Join(r.begun(), " "), "L"); int64(got) != computed.Load() {
				t.Fatalf("%d jobs were computed and %d have their results", got, computed.Load())
			}
		})
	}
}

// A panic of the engine reaches the callers of its batch. Other jobs continue.
func TestAPanicReachesTheCallersOfItsBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		e := r.engine(2)
		compute := e.compute
		e.compute = func(batch []*job) {
			compute(batch)
			if string(batch[0].plain) == "L1" {
				panic("a fault")
			}
		}
		c := &cores{engine: e, patience: 99}
		var panicked, done atomic.Int64
		for _, name := range []string{"L1", "L2", "L3", "L1"} {
			as, j := named(name)
			go func() {
				defer func() {
					if recover() != nil {
						panicked.Add(1)
					}
				}()
				if c.do(t.Context(), as, j) == nil {
					done.Add(1)
				}
			}()
			synctest.Wait()
		}
		c.dispatch()
		synctest.Wait()
		if panicked.Load() != 2 || done.Load() != 2 || c.free != 1 {
			t.Errorf("%d panicked and %d are done, want 2 and 2, and %d cores are free", panicked.Load(), done.Load(), c.free)
		}
		func() { // who has the core alone
			defer func() { _ = recover() }()
			as, j := named("L1")
			_ = c.do(t.Context(), as, j)
		}()
		if c.free != 1 {
			t.Errorf("%d cores are free after one that panicked alone, want 1", c.free)
		}
	})
}

// A flood from one source has one share of the cores, and a later source is next.
func TestTheLeastRecentlyServedSourceIsNext(t *testing.T) {
	for name, tt := range map[string]struct {
		lanes int
		line  string // names of logins; the first letter is the source
		want  []string
	}{
		"one lane":                              {1, "a1 a2 a3 a4 b1 b2 c1", []string{"a1", "b1", "c1", "a2", "b2", "a3", "a4"}},
		"four lanes":                            {4, "a1 a2 a3 a4 a5 a6 b1 b2 c1", []string{"a1 b1 c1 a2", "b2 a3 a4 a5", "a6"}},
		"jobs of another cost go later":         {2, "a1 a2 b1! b2 c1", []string{"a1 b2", "c1 a2", "b1!"}},
		"the first of a batch decides its cost": {2, "a1! b1 a2 b2!", []string{"a1! b2!", "a2 b1"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r recorder
				c := &cores{engine: r.engine(tt.lanes), patience: 99}
				for name := range strings.FieldsSeq(tt.line) {
					_, j := named("L" + name)
					j.plain = []byte(name)
					j.by = fair.Key{Source: netip.AddrFrom4([4]byte{192, 0, 2, name[0]}), Account: [32]byte([]byte(name + strings.Repeat(" ", 32-len(name))))}
					go func() {
						if err := c.do(t.Context(), forLogin, j); err != nil {
							t.Errorf("%s: %v", name, err)
						}
					}()
					synctest.Wait()
				}
				c.dispatch()
				synctest.Wait()
				if got := r.begun(); !slices.Equal(got, tt.want) {
					t.Errorf("the batches are %q, want %q", got, tt.want)
				}
			})
		})
	}
}

func TestPerSecondIsMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := quick(2)
		takes := 100 * time.Millisecond
		h.setEngine(engine{lanes: 4, queue: 1, compute: func([]*job) { <-time.After(takes) }})
		h.fastest.Store(0)
		for _, tt := range []struct {
			takes time.Duration
			want  float64
		}{
			{100 * time.Millisecond, 20},
			{50 * time.Millisecond, 40},
			{time.Second, 40}, // beside other programs
		} {
			takes = tt.takes
			reservation, err := h.Reserve(fair.Key{})
			if err != nil {
				t.Fatal(err)
			}
			if err := reservation.Dummy(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := h.PerSecond(); got != tt.want {
				t.Errorf("%v hashes a second after one of %v on two cores, want %v", got, tt.takes, tt.want)
			}
		}
	})
	if h := quick(2); h.PerSecond() < 1 {
		t.Errorf("%v hashes a second at the start", h.PerSecond())
	}
}
