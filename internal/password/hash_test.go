// SPDX-License-Identifier: Apache-2.0

package password

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	reference "golang.org/x/crypto/bcrypt"

	"github.com/sharding-system/shardinguser-operator/internal/bcrypt"
)

// tail is the part after the cost of a hash by another program.
const tail = "N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"

func TestCheckHash(t *testing.T) {
	for name, tt := range map[string]struct {
		hash string
		says string // "" where the hash is good
	}{
		"$2a$ at cost 10 is good":          {"$2a$10$" + tail, ""},
		"$2b$ at cost 12 is good":          {"$2b$12$" + tail, ""},
		"$2y$ at cost 14 is good":          {"$2y$14$" + tail, ""},
		"$2x$ is refused":                  {"$2x$10$" + tail, "faulty"},
		"$2$ of old is refused":            {"$2$10$" + tail + "x", "not a bcrypt hash"},
		"$2A$ is refused":                  {"$2A$10$" + tail, "not a bcrypt hash"},
		"cost 4 is refused":                {"$2a$04$" + tail, "from 10 to 14"},
		"cost 9 is refused":                {"$2a$09$" + tail, "from 10 to 14"},
		"cost 15 is refused":               {"$2a$15$" + tail, "from 10 to 14"},
		"cost 31 is refused":               {"$2a$31$" + tail, "from 10 to 14"},
		"a cost with a sign is refused":    {"$2a$+9$" + tail, "two digits"},
		"a cost of one digit is refused":   {"$2a$9$" + tail + "x", "two digits"},
		"a cost of three digits is too":    {"$2a$010$" + tail[1:], "two digits"},
		"a trailing newline is refused":    {"$2a$10$" + tail + "\n", "60 characters"},
		"a newline in place of the last":   {"$2a$10$" + tail[1:] + "\n", "letters, digits"},
		"59 characters are refused":        {"$2a$10$" + tail[1:], "60 characters"},
		"61 characters are refused":        {"$2a$10$" + tail + "x", "60 characters"},
		"a plus is not of the alphabet":    {"$2a$10$" + tail[:52] + "+", "letters, digits"},
		"a dollar is not of the alphabet":  {"$2a$10$" + tail[:52] + "$", "letters, digits"},
		"bytes over 127 are refused":       {"$2a$10$" + tail[:51] + "ä", "letters, digits"},
		"a NUL is refused":                 {"$2a$10$" + tail[:52] + "\x00", "letters, digits"},
		"SHA-512 crypt is refused":         {"$6$rounds=5000$saltsalt$" + strings.Repeat("x", 86), "not a bcrypt hash"},
		"argon2 is refused":                {"$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA", "not a bcrypt hash"},
		"a clear password is refused":      {"hunter2hunter2", "not a bcrypt hash"},
		"the unusable value is refused":    {"!", "not a bcrypt hash"},
		"nothing is refused":               {"", "not a bcrypt hash"},
		"a prefix alone is refused":        {"$2a$", "60 characters"},
		"a hash with its name is refused":  {"alice:$2a$10$" + tail, "not a bcrypt hash"},
		"a space before it is refused":     {" $2a$10$" + tail, "not a bcrypt hash"},
		"a missing third dollar is so too": {"$2a$100" + tail, "two digits"},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckHash(tt.hash)
			if tt.says == "" {
				if err != nil {
					t.Errorf("CheckHash = %v", err)
				}
				return
			}
			if !errors.Is(err, ErrHash) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("CheckHash = %v, want one that says %q", err, tt.says)
			}
			if len(tt.hash) > 4 && strings.Contains(err.Error(), tt.hash[4:]) {
				t.Errorf("the error quotes the hash: %v", err)
			}
		})
	}
}

// bcrypt understands what CheckHash accepts.
func FuzzCheckHash(f *testing.F) {
	for _, s := range []string{"", "!", "$2a$10$" + tail, "$2x$10$" + tail, "$2b$31$" + tail, "$2y$14$" + tail + "\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, hash string) {
		if CheckHash(hash) != nil {
			return
		}
		if setting, err := bcrypt.Parse(hash); err != nil || setting.Cost() < MinCost || setting.Cost() > MaxCost {
			t.Fatalf("CheckHash let %q pass, and bcrypt does not: %v", hash, err)
		}
		if cost, err := reference.Cost([]byte(hash)); err != nil || cost < MinCost || cost > MaxCost || len(hash) != 60 {
			t.Fatalf("CheckHash let %q pass: cost %d, %v", hash, cost, err)
		}
	})
}

// Matches agrees with golang.org/x/crypto/bcrypt, except for another version, another length and a NUL, which are
// rejected. No hash causes a panic, and no hash of a high cost is computed.
func FuzzMatches(f *testing.F) {
	h := quick(1)
	hash, err := h.Hash(f.Context(), []byte("secret"))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", "!", hash, hash[:59], hash + "\n", "$2x" + hash[3:], "$2b" + hash[3:], "$2a$31$" + tail, "$2a$14$" + tail, "$hmac$", h.StandIn([]byte("secret"))} {
		f.Add(s, []byte("secret"))
		f.Add(s, []byte("secret\x00"))
	}
	f.Fuzz(func(t *testing.T, hash string, plain []byte) {
		if setting, err := bcrypt.Parse(hash); err == nil && setting.Cost() > bcrypt.MinCost && setting.Cost() <= MaxCost {
			return // it would be computed, and takes its time
		}
		before := h.Compared()
		matches, err := h.Matches(t.Context(), hash, plain)
		if err != nil {
			t.Fatal(err)
		}
		usable := checkHash(hash, bcrypt.MinCost) == nil && checkBytes(plain) == nil
		if computed := h.Compared() - before; (computed == 1) != usable || computed > 1 {
			t.Fatalf("Matches(%q, %q) computes %d times", hash, plain, computed)
		}
		switch {
		case usable:
			if want := reference.CompareHashAndPassword([]byte(hash), plain) == nil; matches != want {
				t.Fatalf("Matches(%q, %q) = %v, and the reference %v", hash, plain, matches, want)
			}
		case matches && hash != h.StandIn(plain):
			t.Fatalf("%q, which is no hash, matches %q", hash, plain)
		}
	})
}

// quick returns a Hasher whose hashes take about a millisecond.
func quick(cores int) *Hasher { return NewTestHasher(cores) }

func TestHashHasTheGivenCost(t *testing.T) {
	h := NewHasher(MinCost, 1)
	hash, err := h.Hash(t.Context(), []byte("a good password"))
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckHash(hash); err != nil || !strings.HasPrefix(hash, "$2a$10$") {
		t.Errorf("Hash = %s: %v", hash, err)
	}
	if ok, err := h.Matches(t.Context(), hash, []byte("a good password")); !ok || err != nil {
		t.Errorf("Matches = %v, %v", ok, err)
	}
	if h.Computed() != 1 || h.Compared() != 1 {
		t.Errorf("counted %d hashes and %d comparisons, want 1 and 1", h.Computed(), h.Compared())
	}
}

func TestHashRejectsWhatBcryptMistakes(t *testing.T) {
	h := quick(1)
	for name, tt := range map[string]struct {
		plain string
		want  error
	}{
		"an empty password":      {"", ErrEmpty},
		"a password of 73 bytes": {strings.Repeat("x", 73), ErrTooLong},
		"a password with a NUL":  {"a\x00b", ErrNUL},
		"Latin-1":                {"\xf6", ErrNotUTF8},
	} {
		t.Run(name, func(t *testing.T) {
			if hash, err := h.Hash(t.Context(), []byte(tt.plain)); hash != "" || !errors.Is(err, tt.want) {
				t.Errorf("Hash = %q, %v, want %v", hash, err, tt.want)
			}
		})
	}
	if h.Computed() != 0 {
		t.Errorf("%d hashes computed for refused passwords", h.Computed())
	}
}

// quickHash returns a hash of bcrypt's lowest cost.
func quickHash(t *testing.T, plain string) string {
	t.Helper()
	hash, err := reference.GenerateFromPassword([]byte(plain), reference.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func TestMatches(t *testing.T) {
	h := quick(2)
	hash := func(plain string) string { return quickHash(t, plain) }
	longest := strings.Repeat("x", 72)
	for name, tt := range map[string]struct {
		hash, plain string
		want        bool
		compared    uint64
	}{
		"the right password":                      {hash("right"), "right", true, 1},
		"a wrong password":                        {hash("right"), "wrong", false, 1},
		"another case":                            {hash("right"), "Right", false, 1},
		"$2b$, as other programs write it":        {"$2b$" + hash("right")[4:], "right", true, 1},
		"$2y$, as PHP writes it":                  {"$2y$" + hash("right")[4:], "right", true, 1},
		"72 bytes":                                {hash(longest), longest, true, 1},
		"72 right bytes and a suffix":             {hash(longest), longest + "y", false, 0},
		"a password that bcrypt repeats past NUL": {hash("ab"), "ab\x00ab", false, 0},
		"a password that ends in NUL":             {hash("ab"), "ab\x00", false, 0},
		"the empty password":                      {hash(""), "", false, 0},
		"no hash":                                 {"", "right", false, 0},
		"the unusable hash":                       {"!", "!", false, 0},
		"$2x$":                                    {"$2x$" + hash("right")[4:], "right", false, 0},
		"a cut hash":                              {hash("right")[:59], "right", false, 0},
		"a hash and a newline":                    {hash("right") + "\n", "right", false, 0},
		"a clear password in place of the hash":   {"right", "right", false, 0},
		"a cost that would take hours":            {"$2a$31$" + tail, "right", false, 0},
		"a password that is not UTF-8":            {hash("\xf6"), "\xf6", true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			before := h.Compared()
			got, err := h.Matches(t.Context(), tt.hash, []byte(tt.plain))
			if err != nil || got != tt.want {
				t.Errorf("Matches = %v, %v, want %v", got, err, tt.want)
			}
			if n := h.Compared() - before; n != tt.compared {
				t.Errorf("%d comparisons, want %d", n, tt.compared)
			}
		})
	}
}

func TestMatchesRejectsCheapHashes(t *testing.T) {
	if ok, err := NewHasher(MinCost, 1).Matches(t.Context(), quickHash(t, "right"), []byte("right")); ok || err != nil {
		t.Errorf("Matches = %v, %v for a hash of cost 4", ok, err)
	}
}

func TestHashNeedsACore(t *testing.T) {
	h := quick(2)
	h.cores.free = 0

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Hash(ctx, []byte("secret")); !errors.Is(err, context.Canceled) {
		t.Errorf("Hash under a cancelled context = %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := h.Matches(ctx, quickHash(t, "secret"), []byte("secret")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Matches without a free core = %v", err)
	}
	if h.Computed() != 0 || h.Compared() != 0 {
		t.Errorf("%d hashes and %d comparisons without a core", h.Computed(), h.Compared())
	}

	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := h.Hash(t.Context(), []byte("secret")); err != nil {
				t.Error(err)
			}
		})
	}
	h.cores.dispatch() // the other stays taken
	wg.Wait()
	if h.Computed() != 8 {
		t.Errorf("%d hashes, want 8", h.Computed())
	}
}

func TestNewHasherPanicsOutsideItsLimits(t *testing.T) {
	for name, tt := range map[string]struct{ cost, cores int }{
		"cost below the minimum": {9, 1},
		"cost above the maximum": {15, 1},
		"no core":                {10, 0},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			NewHasher(tt.cost, tt.cores)
		})
	}
}
