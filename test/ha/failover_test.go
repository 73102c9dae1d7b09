// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// A failover makes the other node the primary, and afterwards repairs the former one.
type failover struct {
	begin, repair func(ctx context.Context, old *testenv.PatroniNode) error

	// waits are the ways that do not leave the former primary before the repair.
	waits []string
}

var failovers = map[string]failover{
	"the primary is killed": {
		begin:  func(ctx context.Context, old *testenv.PatroniNode) error { return old.Kill(ctx) },
		repair: func(ctx context.Context, old *testenv.PatroniNode) error { return old.Start(ctx) },
	},
	// As when its machine is powered off: connections to it are not refused, they get no answer.
	"the primary is powered off": {
		begin: func(ctx context.Context, old *testenv.PatroniNode) error {
			old.Silence()
			return old.Kill(ctx)
		},
		repair: func(ctx context.Context, old *testenv.PatroniNode) error {
			if err := old.EndSilence(); err != nil {
				return err
			}
			return old.Start(ctx)
		},
	},
	"a planned switchover": {
		begin:  func(ctx context.Context, _ *testenv.PatroniNode) error { return pair.Switchover(ctx) },
		repair: func(context.Context, *testenv.PatroniNode) error { return nil },
	},
	"the primary loses etcd": {
		begin:  func(_ context.Context, old *testenv.PatroniNode) error { old.LoseEtcd(); return nil },
		repair: func(_ context.Context, old *testenv.PatroniNode) error { return old.FindEtcd() },
	},
	// Nothing demotes the former primary. Its commits wait for the standby, so they do not return. The repair is that of a
	// watchdog: a Patroni 3.0 that continues may take the leader key back.
	"the primary's Patroni hangs": {
		begin: func(_ context.Context, old *testenv.PatroniNode) error { return old.Freeze() },
		repair: func(ctx context.Context, old *testenv.PatroniNode) error {
			if err := old.Kill(ctx); err != nil {
				return err
			}
			return old.Start(ctx)
		},
		waits: []string{"two hosts"},
	},
}

func TestWritesResumeOnTheNewPrimaryAndNothingIsLost(t *testing.T) {
	if testing.Short() {
		t.Skip("TestWorkResumesOnAPromotedStandby of test/e2e is the short form")
	}
	for _, name := range slices.Sorted(maps.Keys(failovers)) {
		t.Run(name, func(t *testing.T) {
			usePair(t)
			s := newStory(t)
			s.failOver(failovers[name])
		})
	}
}

// usePair waits until the pair is healthy, and repairs it if the test fails.
func usePair(t *testing.T) {
	t.Helper()
	if err := pair.Healthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		t.Log(pair.Tail())
		if err := pair.Repair(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// A story is a failover under load, by all ways.
type story struct {
	t       *testing.T
	old     *testenv.PatroniNode
	primary *testenv.PatroniNode // after the failover
	writers *writers
	crews   []*crew
	loads   []*load
}

// The users of a crew.
const (
	alice = "alice" // logs in all the time
	bob   = "bob"   // is locked before
	carol = "carol" // fails twice before and twice during the failover
	dave  = "dave"  // is locked during the failover
)

func newStory(t *testing.T) *story {
	t.Helper()
	s := &story{t: t, old: pair.Primary(t.Context()), writers: newWriters(t)}
	s.primary = pair.Other(s.old)
	for _, way := range slices.Sorted(maps.Keys(ways)) {
		c := newCrew(t, way)
		for _, name := range []string{alice, bob, carol, dave} {
			c.member(name)
		}
		c.fails(bob, 5)
		c.fails(carol, 2)
		s.crews = append(s.crews, c)
		s.loads = append(s.loads, c.load(alice, bob))
	}
	for i, c := range s.crews {
		c.eventually(soon, func(g gomega.Gomega) {
			g.Expect(len(c.synced())).To(gomega.BeNumerically(">", 8), "members and some new users")
			g.Expect(s.loads[i].answered(http.StatusOK)).NotTo(gomega.BeZero())
		})
	}
	return s
}

func (s *story) failOver(f failover) {
	ctx := s.t.Context()
	before := s.synced()
	began := time.Now()
	if err := f.begin(ctx, s.old); err != nil {
		s.t.Fatal(err)
	}
	for i, c := range s.crews {
		c.eventually(2*time.Minute, func(g gomega.Gomega) {
			fell, _ := s.loads[i].fallback()
			g.Expect(fell.IsZero() && s.writers.promoted(s.primary).IsZero()).To(gomega.BeFalse(), "nothing has failed yet")
		})
		c.fails(carol, 2)
		c.fails(dave, 5)
	}
	promoted := s.promoted(before)
	s.t.Logf("the new primary accepts writes after %s", seconds(promoted.Sub(began)))

	for i, c := range s.crews {
		if slices.Contains(f.waits, c.way) {
			continue
		}
		s.resumes(c, s.loads[i], promoted)
	}
	if err := f.repair(ctx, s.old); err != nil {
		s.t.Fatal(err)
	}
	for i, c := range s.crews {
		if slices.Contains(f.waits, c.way) {
			s.resumes(c, s.loads[i], s.demoted())
		}
	}
	for i, c := range s.crews {
		s.loads[i].end()
		s.complete(c, s.loads[i])
	}
	if err := pair.Healthy(ctx); err != nil {
		s.t.Fatal(err)
	}
	s.writers.end()
	s.writers.check(s.t, s.old, s.primary)
	s.follows()
}

func seconds(d time.Duration) string { return d.Round(100 * time.Millisecond).String() }

// synced returns the names of each crew's users whose status says Synced.
func (s *story) synced() (names [][]string) {
	for _, c := range s.crews {
		names = append(names, c.synced())
	}
	return names
}

// promoted waits until the new primary acknowledges a write, and returns when it did. It checks that the node then has the rows
// of these users, which a manager has had no time to write again.
func (s *story) promoted(synced [][]string) (at time.Time) {
	s.t.Helper()
	s.crews[0].Eventually(func() time.Time { at = s.writers.promoted(s.primary); return at }).
		WithTimeout(2 * time.Minute).WithPolling(10 * time.Millisecond).ShouldNot(gomega.BeZero())
	for i, names := range synced {
		c := s.crews[i]
		rows, err := c.rows(s.t.Context(), s.primary)
		c.Expect(err).NotTo(gomega.HaveOccurred())
		for _, name := range names {
			c.Expect(rows).To(gomega.HaveKey(name), "%s: Synced before the failover", c.way)
		}
		c.Expect(rows[bob].Locked).To(gomega.BeTrue())
		c.t.Logf("%s: the new primary has the rows of all %d users that were Synced", c.way, len(names))
	}
	return at
}

// demoted waits until the former primary takes no more writes, and returns when it did.
func (s *story) demoted() (at time.Time) {
	s.t.Helper()
	from := time.Now()
	s.crews[0].Eventually(func() bool {
		at = time.Now()
		conn, err := pgx.Connect(s.t.Context(), s.old.DSN())
		if err != nil {
			return true
		}
		defer func() { _ = conn.Close(s.t.Context()) }()
		var is bool
		return conn.QueryRow(s.t.Context(), `SELECT pg_is_in_recovery()`).Scan(&is) != nil || is
	}).WithTimeout(2 * time.Minute).WithPolling(50 * time.Millisecond).Should(gomega.BeTrue())
	s.t.Logf("the former primary is demoted %s after its repair", seconds(at.Sub(from)))
	return at
}

// resumes expects that a crew's manager reports new users as Synced, within 10 s.
func (s *story) resumes(c *crew, l *load, from time.Time) {
	s.t.Helper()
	c.eventually(2*time.Minute, func(g gomega.Gomega) {
		g.Expect(l.resumed(from)).NotTo(gomega.BeZero())
		_, over := l.fallback()
		g.Expect(over).NotTo(gomega.BeZero(), "the fallback still decides logins")
	})
	began, over := l.fallback()
	s.t.Logf("%s: writes resume after %s; the fallback decided logins from %s before to %s after", c.way,
		seconds(l.resumed(from).Sub(from)), seconds(from.Sub(began)), seconds(over.Sub(from)))
	limit := from.Add(10*time.Second + 3*c.calm) // a busy machine takes longer
	c.Expect(l.resumed(from)).To(gomega.BeTemporally("<=", limit), "%s: writes resume", c.way)
	c.Expect(over).To(gomega.BeTemporally("<=", limit), "%s: the database decides logins", c.way)
}

// complete expects that after the failover all users are as declared, and that no attempt was lost.
func (s *story) complete(c *crew, l *load) {
	s.t.Helper()
	c.eventually(soon, func(g gomega.Gomega) {
		users, err := c.list(s.t.Context())
		g.Expect(err).NotTo(gomega.HaveOccurred())
		rows, err := c.rows(s.t.Context(), s.primary)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(rows).To(gomega.HaveLen(len(users)))
		for _, u := range users {
			g.Expect(reasonOf(&u)).To(gomega.Equal(v1alpha1.ReasonSynced), u.Name)
			g.Expect(rows).To(gomega.HaveKey(u.Name))
			if u.Name == bob || u.Name == dave {
				g.Expect(u.Status.Locked).To(gomega.BeTrue(), u.Name)
			}
		}
		g.Expect(rows[alice].Failed).To(gomega.BeZero())
		g.Expect(rows[carol].Failed).To(gomega.Equal(4))
		g.Expect(rows[carol].Locked).To(gomega.BeFalse())
		g.Expect(rows[bob].Locked).To(gomega.BeTrue())
		g.Expect(rows[dave].Failed).To(gomega.Equal(5))
		g.Expect(rows[dave].Locked).To(gomega.BeTrue())
	})
	s.t.Logf("%s: %d users; right logins by answer: %v; reported: %q", c.way, len(l.created), l.answers, l.reported)
	c.Expect(l.answered(http.StatusUnauthorized)).To(gomega.BeZero(), "%s: a right password is refused", c.way)
	for reason := range l.reported {
		c.Expect(reason).To(gomega.BeElementOf(v1alpha1.ReasonPending, v1alpha1.ReasonSynced, v1alpha1.ReasonDatabaseUnavailable))
	}
	c.Expect(c.metric(s.t.Context(), "shardinguser_fallback_attempts_total")).NotTo(gomega.BeZero())
}

// follows expects that the former primary has the rows of the new one.
func (s *story) follows() {
	s.t.Helper()
	for _, c := range s.crews {
		c.eventually(soon, func(g gomega.Gomega) {
			want, err := c.rows(s.t.Context(), s.primary)
			g.Expect(err).NotTo(gomega.HaveOccurred())
			got, err := c.rows(s.t.Context(), s.old)
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(got).To(gomega.Equal(want))
		})
	}
}
