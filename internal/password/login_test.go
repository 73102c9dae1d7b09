// SPDX-License-Identifier: Apache-2.0

package password

import (
	"errors"
	"strings"
	"testing"

	reference "golang.org/x/crypto/bcrypt"

	"github.com/sharding-system/shardinguser-operator/internal/fair"
)

// Every comparison costs a login one computation.
func TestALoginComputesOneHash(t *testing.T) {
	h := quick(1)
	hash := func(plain string) string { return quickHash(t, plain) }
	longest := strings.Repeat("x", 72)
	for name, tt := range map[string]struct {
		hash, plain string
		want        bool
	}{
		"the right password":                     {hash("right"), "right", true},
		"a wrong password":                       {hash("right"), "wrong", false},
		"72 right bytes and a suffix":            {hash(longest), longest + "y", false},
		"a megabyte":                             {hash(longest), strings.Repeat("x", 1<<20), false},
		"a password that bcrypt repeats":         {hash("ab"), "ab\x00ab", false},
		"the empty password":                     {hash(""), "", false},
		"no hash":                                {"", "right", false},
		"the unusable hash":                      {"!", "!", false},
		"$2x$":                                   {"$2x$" + hash("right")[4:], "right", false},
		"a cut hash":                             {hash("right")[:59], "right", false},
		"a clear password in place of the hash":  {"right", "right", false},
		"a cost that would take hours":           {"$2a$31$" + tail, "right", false},
		"the dummy's own stand-in for passwords": {"!", "a password of no user", false},
	} {
		t.Run(name, func(t *testing.T) {
			before := h.Compared()
			reservation, err := h.Reserve(fair.Key{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := reservation.Matches(t.Context(), tt.hash, []byte(tt.plain))
			if err != nil || got != tt.want {
				t.Errorf("Matches = %v, %v, want %v", got, err, tt.want)
			}
			if n := h.Compared() - before; n != 1 {
				t.Errorf("%d computations, want 1", n)
			}
		})
	}
}

func TestTheDummyIsAHashOfTheHashersCost(t *testing.T) {
	h := NewHasher(11, 1)
	if cost, err := reference.Cost([]byte(h.dummy)); cost != 11 || err != nil || CheckHash(h.dummy) != nil {
		t.Errorf("the dummy has cost %d: %v", cost, err)
	}
	if another := NewHasher(11, 1); another.dummy == h.dummy {
		t.Error("two hashers share a dummy")
	}
}

func TestAFullQueueIsReportedAtOnce(t *testing.T) {
	h := quick(2)
	var reservations []*Reservation
	for range 2 * (h.cores.lanes + h.cores.queue) {
		reservation, err := h.Reserve(fair.Key{})
		if err != nil {
			t.Fatal(err)
		}
		reservations = append(reservations, reservation)
	}
	if _, err := h.Reserve(fair.Key{}); !errors.Is(err, ErrBusy) {
		t.Errorf("Reserve of a full queue = %v", err)
	}
	reservations[0].Release()
	reservations[0].Release() // the second call does nothing
	if err := reservations[1].Dummy(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := h.Reserve(fair.Key{}); err != nil {
			t.Errorf("Reserve of a freed reservation = %v", err)
		}
	}
	if _, err := h.Reserve(fair.Key{}); !errors.Is(err, ErrBusy) {
		t.Errorf("Reserve of a queue that is full again = %v", err)
	}
}

func TestAReservationIsForOneComputation(t *testing.T) {
	reservation, err := quick(1).Reserve(fair.Key{})
	if err != nil {
		t.Fatal(err)
	}
	if err := reservation.Dummy(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a reservation was used twice")
		}
	}()
	_ = reservation.Dummy(t.Context())
}
