// SPDX-License-Identifier: Apache-2.0

package fair

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// key returns the key of a text such as "192.0.2.1 alice".
func key(t *testing.T, text string) (k Key) {
	t.Helper()
	address, account, _ := strings.Cut(text, " ")
	k.Source = netip.MustParseAddr(address)
	copy(k.Account[:], account)
	return k
}

// queue has waiting claims by their texts.
type queue struct {
	*Ledger
	t     *testing.T
	names map[*Claim]string
	wait  []*Claim
}

func newQueue(t *testing.T, remembered int, texts ...string) *queue {
	t.Helper()
	q := &queue{NewLedger(remembered), t, map[*Claim]string{}, nil}
	for _, text := range texts {
		q.add(text)
	}
	return q
}

func (q *queue) add(text string) {
	q.t.Helper()
	c := q.Claim(key(q.t, text))
	q.names[c] = text
	q.wait = append(q.wait, c)
}

// remove removes the first claim by an order.
func (q *queue) remove(isFirst func(a, b *Claim) bool) *Claim {
	first := slices.MinFunc(q.wait, func(a, b *Claim) int {
		if isFirst(a, b) {
			return -1
		}
		return 1
	})
	q.wait = slices.DeleteFunc(q.wait, func(c *Claim) bool { return c == first })
	return first
}

func (q *queue) serve() string {
	c := q.remove((*Claim).Before)
	q.Serve(c)
	q.Release(c)
	return q.names[c]
}

func TestTheLeastRecentlyServedClaimIsNext(t *testing.T) {
	for name, tt := range map[string]struct {
		served, wait, want []string
	}{
		"one source, one after the other": {
			wait: []string{"192.0.2.1 a", "192.0.2.1 b", "192.0.2.1 c"},
			want: []string{"192.0.2.1 a", "192.0.2.1 b", "192.0.2.1 c"},
		},
		"two sources, in turns": {
			wait: []string{"192.0.2.1 a", "192.0.2.1 b", "192.0.2.2 c", "192.0.2.2 d"},
			want: []string{"192.0.2.1 a", "192.0.2.2 c", "192.0.2.1 b", "192.0.2.2 d"},
		},
		"a new source precedes one that was served": {
			served: []string{"192.0.2.1 a"},
			wait:   []string{"192.0.2.1 b", "192.0.2.1 c", "192.0.2.2 d"},
			want:   []string{"192.0.2.2 d", "192.0.2.1 b", "192.0.2.1 c"},
		},
		"the accounts of one source, in turns": {
			served: []string{"192.0.2.1 a"},
			wait:   []string{"192.0.2.1 a", "192.0.2.1 a", "192.0.2.1 b"},
			want:   []string{"192.0.2.1 b", "192.0.2.1 a", "192.0.2.1 a"},
		},
		"a /48 has one turn, whatever the /64": {
			served: []string{"2001:db8:0:1::1 a"},
			wait:   []string{"2001:db8:0:2::1 b", "2001:db8:0:3::1 c", "2001:db8:1::1 d"},
			want:   []string{"2001:db8:1::1 d", "2001:db8:0:2::1 b", "2001:db8:0:3::1 c"},
		},
		"the /64s of a /48, in turns": {
			wait: []string{"2001:db8:0:1::1 a", "2001:db8:0:1::2 b", "2001:db8:0:2::1 c"},
			want: []string{"2001:db8:0:1::1 a", "2001:db8:0:2::1 c", "2001:db8:0:1::2 b"},
		},
		"an account has one turn, whatever the source": {
			served: []string{"192.0.2.1 a"},
			wait:   []string{"192.0.2.2 a", "192.0.2.3 a", "192.0.2.4 b"},
			want:   []string{"192.0.2.4 b", "192.0.2.2 a", "192.0.2.3 a"},
		},
		"a new source precedes sources that guess one account": {
			served: []string{"192.0.2.1 a", "192.0.2.2 a"},
			wait:   []string{"192.0.2.1 a", "192.0.2.2 a", "192.0.2.3 a"},
			want:   []string{"192.0.2.3 a", "192.0.2.1 a", "192.0.2.2 a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			q := newQueue(t, 100)
			for _, text := range tt.served {
				q.add(text)
				q.serve()
			}
			for _, text := range tt.wait {
				q.add(text)
			}
			var got []string
			for range tt.wait {
				got = append(got, q.serve())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("served are %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTheLargestHolderIsDroppedFirst(t *testing.T) {
	for name, tt := range map[string]struct {
		served, wait []string
		want         string
	}{
		"the newest of the source that holds most": {
			wait: []string{"192.0.2.1 a", "192.0.2.1 b", "192.0.2.1 c", "192.0.2.2 d"}, want: "192.0.2.1 c",
		},
		"the newest of the /48 that holds most": {
			wait: []string{"2001:db8:0:1::1 a", "2001:db8:0:2::1 b", "192.0.2.2 d"}, want: "2001:db8:0:2::1 b",
		},
		"on the account that holds most, of the source that does": {
			wait: []string{"192.0.2.1 a", "192.0.2.1 a", "192.0.2.2 a", "192.0.2.3 b"}, want: "192.0.2.1 a",
		},
		"of equals the one that was served last": {
			served: []string{"192.0.2.2 b"}, wait: []string{"192.0.2.1 a", "192.0.2.2 b", "192.0.2.3 c"}, want: "192.0.2.2 b",
		},
	} {
		t.Run(name, func(t *testing.T) {
			q := newQueue(t, 100)
			for _, text := range tt.served {
				q.add(text)
				q.serve()
			}
			for _, text := range tt.wait {
				q.add(text)
			}
			if got := q.names[q.remove((*Claim).Outweighs)]; got != tt.want {
				t.Errorf("dropped is %q, want %q", got, tt.want)
			}
		})
	}
}

// 65,536 new sources of one /48 and two users that were served before take one turn in three each.
func TestANetworkWithManySourcesHasOneShare(t *testing.T) {
	q := newQueue(t, 1000, "192.0.2.1 a", "192.0.2.2 b")
	q.serve()
	q.serve()
	served := map[string]int{}
	for i := range 300 {
		for range 3 {
			q.add(fmt.Sprintf("2001:db8:0:%x::1 name-%d", i, i))
		}
		q.add("192.0.2.1 a")
		q.add("192.0.2.2 b")
		served[q.serve()]++
	}
	if a, b := served["192.0.2.1 a"], served["192.0.2.2 b"]; a != 100 || b != 100 {
		t.Errorf("the users had %d and %d turns of 300, want 100 each", a, b)
	}
}

// The memory is limited by the number of turns, and new sources do not starve a waiting claim.
func TestOldTurnsAreForgotten(t *testing.T) {
	const remembered = 50
	q := newQueue(t, remembered, "192.0.2.1 a")
	q.serve()
	q.add("192.0.2.1 a")
	address := netip.MustParseAddr("10.0.0.0")
	for i := range 4 * remembered {
		address = address.Next()
		q.add(fmt.Sprintf("%s name-%d", address, i))
		if q.serve() == "192.0.2.1 a" {
			if i < remembered/2 {
				t.Errorf("it was served before %d new sources", i)
			}
			break
		}
		if i == 2*remembered {
			t.Fatal("it was never served")
		}
	}
	for len(q.wait) > 0 {
		q.serve()
	}
	for range remembered {
		q.add("192.0.2.9 z")
		q.serve()
	}
	if n := len(q.parties); n != 3 {
		t.Errorf("%d parties are remembered, want those of the last %d turns", n, remembered)
	}
}

func TestAnInvalidAddressIsASource(t *testing.T) {
	l := NewLedger(10)
	c := l.Claim(Key{})
	l.Serve(c)
	l.Release(c)
	if SourceOf(netip.Addr{}).IsValid() {
		t.Error("it is a valid one")
	}
}
