// SPDX-License-Identifier: Apache-2.0

package password

import (
	"errors"
	"strings"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/fair"
)

func TestAStandInComparesAtTheCostOfAHash(t *testing.T) {
	h := quick(1)
	longest := strings.Repeat("x", 72)
	for name, tt := range map[string]struct {
		hash, plain string
		want        bool
	}{
		"the right password":                  {h.StandIn([]byte("right")), "right", true},
		"a wrong password":                    {h.StandIn([]byte("right")), "wrong", false},
		"another case":                        {h.StandIn([]byte("right")), "Right", false},
		"72 bytes":                            {h.StandIn([]byte(longest)), longest, true},
		"72 right bytes and a suffix":         {h.StandIn([]byte(longest)), longest + "y", false},
		"a longer one, though it is its":      {h.StandIn([]byte(longest + "y")), longest + "y", false},
		"one with a NUL, though it is its":    {h.StandIn([]byte("a\x00b")), "a\x00b", false},
		"the empty one, though it is its":     {h.StandIn(nil), "", false},
		"a stand-in of another process":       {quick(1).StandIn([]byte("right")), "right", false},
		"a cut stand-in":                      {h.StandIn([]byte("right"))[:40], "right", false},
		"a stand-in and more":                 {h.StandIn([]byte("right")) + "A", "right", false},
		"the mark alone":                      {standInPrefix, "right", false},
		"the stand-in in place of a password": {h.StandIn([]byte("right")), h.StandIn([]byte("right")), false},
		"the dummy's stand-in for password":   {h.StandIn([]byte("right")), "a password of no user", false},
	} {
		t.Run(name, func(t *testing.T) {
			if !IsStandIn(tt.hash) {
				t.Error("a stand-in is not recognised")
			}
			before := h.Compared()
			if got, err := h.Matches(t.Context(), tt.hash, []byte(tt.plain)); got != tt.want || err != nil {
				t.Errorf("Hasher.Matches = %v, %v, want %v", got, err, tt.want)
			}
			if n := h.Compared() - before; n != 0 {
				t.Errorf("%d computations for a reconcile, want none", n)
			}
			reservation, err := h.Reserve(fair.Key{})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := reservation.Matches(t.Context(), tt.hash, []byte(tt.plain)); got != tt.want || err != nil {
				t.Errorf("Place.Matches = %v, %v, want %v", got, err, tt.want)
			}
			if n := h.Compared() - before; n != 1 {
				t.Errorf("%d computations for a login, want 1", n)
			}
		})
	}
}

func TestAStandInIsNotAHash(t *testing.T) {
	h := quick(1)
	of := h.StandIn([]byte("right"))
	if err := CheckHash(of); !errors.Is(err, ErrHash) {
		t.Errorf("CheckHash of a stand-in = %v", err)
	}
	if strings.Contains(of, "right") {
		t.Error("the stand-in holds the password")
	}
	if of != h.StandIn([]byte("right")) || of == h.StandIn([]byte("wrong")) {
		t.Error("stand-ins are equal where passwords are not, or the other way round")
	}
	for _, hash := range []string{"", "!", "$hmac", "$2a$10$" + tail, quickHash(t, "right"), " " + of} {
		if IsStandIn(hash) {
			t.Errorf("%q is taken for a stand-in", hash)
		}
	}
	if h.Computed() != 0 {
		t.Error("a stand-in took a hash")
	}
}
