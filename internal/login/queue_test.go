// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// exempts creates an account that a policy exempts from lockout.
func (w *world) exempts(username, hash string) {
	w.t.Helper()
	_, err := w.store.Apply(w.t.Context(), user.Change{
		Verb: user.Create, Username: username, Generation: 1, Deletion: "Delete", Active: true,
		Owner:    user.Owner{Cluster: "c", Namespace: "n", Name: username, UID: "u"},
		Password: &user.PasswordChange{Hash: hash, Version: "v", New: true}, Lockout: user.Lockout{Exempt: true},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// crowd is a service whose charges do not return until proceed is closed or receives.
type crowd struct {
	*world
	proceed chan struct{}

	mu      sync.Mutex
	charged []string // usernames
	ended   map[string]map[Outcome]int
}

// crowded runs a story in which a place becomes free only when the story sends to proceed.
func crowded(t *testing.T, story func(t *testing.T, c *crowd)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{newWorld(t, nil), make(chan struct{}), sync.Mutex{}, nil, map[string]map[Outcome]int{}}
		c.tap.charging = func() error { <-c.proceed; return nil }
		c.tap.asked = func(username string) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.charged = append(c.charged, username)
		}
		story(t, c)
		synctest.Wait()
		if len(c.queue.waiting)+len(c.queue.lines)+c.queue.inside != 0 {
			t.Errorf("at the end %d attempts wait, %d lines are taken, and %d attempts are admitted", len(c.queue.waiting), len(c.queue.lines), c.queue.inside)
		}
	})
}

// arrive makes an attempt from an address, and returns when the attempt is admitted, waits or was dropped.
func (c *crowd) arrive(from, username string) {
	go func() {
		outcome := c.LogIn(context.Background(), Credentials{Username: username, Password: right, Source: netip.MustParseAddr(from)}).Outcome
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ended[from] == nil {
			c.ended[from] = map[Outcome]int{}
		}
		c.ended[from][outcome]++
	}()
	synctest.Wait()
}

// turn ends attempts one by one until an attempt with the username is charged, and returns the number of ended attempts.
func (c *crowd) turn(username string) (n int) {
	for n < c.queue.most {
		n++
		c.proceed <- struct{}{}
		synctest.Wait()
		c.mu.Lock()
		charged := slices.Contains(c.charged, username)
		c.mu.Unlock()
		if charged {
			break
		}
	}
	return n
}

func TestANewSourceIsServedBeforeABacklogOfGuesses(t *testing.T) {
	for name, tt := range map[string]struct {
		source func(i int) string
		latest int // turn; sources that were never served either go first
	}{
		"of two addresses":        {func(i int) string { return fmt.Sprintf("192.0.2.%d", 1+i%2) }, 1},
		"of a hundred addresses":  {func(i int) string { return fmt.Sprintf("192.0.2.%d", 1+i%100) }, 1 + 100 - 88},
		"of 65,536 /64s of a /48": {func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i) }, 1},
		"of one address":          {func(int) string { return "192.0.2.1" }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			crowded(t, func(t *testing.T, c *crowd) {
				t.Helper()
				for i := range 2 * c.queue.most {
					c.arrive(tt.source(i), fmt.Sprint("nobody-", i))
				}
				c.arrive("198.51.100.7", "alice")
				if turn := c.turn("alice"); turn > tt.latest {
					t.Errorf("alice had turn %d of those that waited, want %d at the latest", turn, tt.latest)
				}
				close(c.proceed)
				synctest.Wait()
				if c.ended["198.51.100.7"][Succeeded] != 1 {
					t.Errorf("alice's login ended with %v", c.ended["198.51.100.7"])
				}
			})
		})
	}
}

// The owner of an account logs in while many sources guess at it, each on one connection, before it is locked.
func TestOnOneAccountTheNewestSourceGoesFirst(t *testing.T) {
	crowded(t, func(t *testing.T, c *crowd) {
		t.Helper()
		for i := range 2 * maxWaitingOnAccount {
			c.arrive(fmt.Sprintf("192.0.2.%d", 1+i%3), "alice")
		}
		if n := c.ended["192.0.2.1"][Busy] + c.ended["192.0.2.2"][Busy] + c.ended["192.0.2.3"][Busy]; n != maxWaitingOnAccount-1 {
			t.Errorf("%d were dropped, want all but the first and %d", n, maxWaitingOnAccount)
		}
		c.arrive("198.51.100.7", "alice")
		close(c.proceed)
		synctest.Wait()
		if c.ended["198.51.100.7"][Succeeded] != 1 {
			t.Errorf("the owner's login ended with %v", c.ended["198.51.100.7"])
		}
	})
}

func TestAFullLineDropsFromTheLargestSource(t *testing.T) {
	crowded(t, func(t *testing.T, c *crowd) {
		t.Helper()
		for i := range c.queue.most {
			c.arrive("192.0.2.1", fmt.Sprint("one-", i))
		}
		const others = 20
		for i := range others {
			c.arrive(fmt.Sprintf("198.51.100.%d", i), fmt.Sprint("other-", i))
		}
		if got := c.ended["192.0.2.1"]; got[Busy] != others || len(c.ended) != 1 {
			t.Errorf("dropped are %v, want %d of 192.0.2.1 alone", c.ended, others)
		}
		if got := len(c.queue.waiting) + c.queue.inside; got != c.queue.most {
			t.Errorf("%d wait or have their turn, want %d", got, c.queue.most)
		}
		close(c.proceed)
	})
}

func TestAnExemptAccountHasNoSerialLine(t *testing.T) {
	crowded(t, func(t *testing.T, c *crowd) {
		t.Helper()
		c.exempts("robot", hashOf(t, right))
		c.arrive("192.0.2.1", "robot") // the charge finds that it is exempt
		c.proceed <- struct{}{}
		synctest.Wait()
		for i := range 3 * 60 {
			c.arrive(fmt.Sprintf("192.0.2.%d", 1+i%3), "robot")
		}
		if inside := c.queue.inside; inside != c.queue.places {
			t.Errorf("%d have their turn at once, want %d", inside, c.queue.places)
		}
		for i := range 15 {
			c.arrive(fmt.Sprintf("198.51.100.%d", i), "robot")
		}
		c.arrive("203.0.113.1", "alice")
		if turn := c.turn("alice"); turn != 1 {
			t.Errorf("the account of another user had turn %d, want the first", turn)
		}
		close(c.proceed)
		synctest.Wait()
		for i := range 15 {
			if got := c.ended[fmt.Sprintf("198.51.100.%d", i)]; got[Succeeded] != 1 {
				t.Errorf("right login %d of the exempt account ended with %v", i, got)
			}
		}
	})
}

func TestAnAccountThatIsNoLongerExemptHasASerialLine(t *testing.T) {
	w := newWorld(t, nil)
	alice := w.aliases.Of([]byte("alice"))
	w.queue.setExempt(alice, true)
	w.try("alice", right) // the charge finds that it is not exempt
	if w.queue.exempt.Contains(alice) {
		t.Error("it counts as exempt")
	}
}

// Parallel requests of one client compute once, as for accounts that are not exempt.
func TestEqualCredentialsOfAnExemptAccountComputeOnce(t *testing.T) {
	w := newWorld(t, nil)
	w.exempts("robot", hashOf(t, right))
	w.try("robot", wrong)
	before := w.Hasher.Compared()
	parallel(50, func(int) {
		if a := w.verifyBasic("robot", right); a.Code != 200 {
			t.Errorf("%d", a.Code)
		}
	})
	if n := w.Hasher.Compared() - before; n != 1 {
		t.Errorf("%d computations, want 1", n)
	}
}

// Refusals that need no hash take no place and no share.
func TestRefusalsWithoutAHashTakeNoShare(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.SourceRate, o.SourceBurst = 1, 1 })
	w.postLogIn("bob", wrong)
	served, hashes := w.queue.ledger.Served(), w.Hasher.Compared()
	var refused atomic.Int64
	parallel(20, func(int) {
		for _, body := range []string{"", "{}", "[]", `{"username":"bob"}`, `{"username":"bob","password":"` + wrong + `"}`} {
			if w.post(body).Code >= 400 {
				refused.Add(1)
			}
		}
		if w.serve(w.verifying("Bearer x")).Code >= 400 && w.serve(w.verifying()).Code >= 400 {
			refused.Add(1)
		}
	})
	if refused.Load() != 20*6 || w.queue.ledger.Served() != served || w.Hasher.Compared() != hashes {
		t.Errorf("%d refusals took %d turns and %d hashes", refused.Load(), w.queue.ledger.Served()-served, w.Hasher.Compared()-hashes)
	}
}
