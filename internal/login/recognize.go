// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sharding-system/shardinguser-operator/internal/password"
)

// maxRecognized is the largest number of credentials in the cache, which take a few megabytes.
const maxRecognized = 1 << 14

// recognized is a cache of credentials that passed, as fingerprints under a key of this process (HMAC of username and password).
// Each has the hash that the password was verified against, and is invalid when the row has another hash.
type recognized struct {
	prints *password.Fingerprinter
	ttl    time.Duration
	passed *lru.Cache[password.Fingerprint, passed]
}

// passed is the hash that credentials were verified against, and the time when they expire.
type passed struct {
	hash  string
	until time.Time
}

// newRecognized returns a cache with this time to live, or nil, which caches nothing, for 0.
func newRecognized(ttl time.Duration) *recognized {
	if ttl == 0 {
		return nil
	}
	return &recognized{prints: password.NewFingerprinter(), ttl: ttl, passed: newLRU[password.Fingerprint, passed](maxRecognized)}
}

// of returns the fingerprint. NUL is a safe separator: Postgres rejects it in usernames, and no password with NUL passes.
func (k *recognized) of(c Credentials) password.Fingerprint {
	return k.prints.Of([]byte(c.Username + "\x00" + c.Password))
}

// fingerprint returns the fingerprint, or zero if nothing is recognized.
func (k *recognized) fingerprint(c Credentials) password.Fingerprint {
	if k == nil {
		return password.Fingerprint{}
	}
	return k.of(c)
}

func (k *recognized) remember(c Credentials, hash string, now time.Time) {
	if k != nil {
		k.passed.Add(k.of(c), passed{hash: hash, until: now.Add(k.ttl)})
	}
}

// verified returns the hash that the credentials recently passed against.
func (k *recognized) verified(c Credentials, now time.Time) (hash string, ok bool) {
	if k == nil {
		return "", false
	}
	known, ok := k.passed.Get(k.of(c))
	return known.hash, ok && now.Before(known.until)
}

// recognize accepts credentials that passed recently, if the account still permits it, and reports whether it decided. It also
// decides when the account cannot be read. Other credentials do not reach the store here, since they are not throttled yet.
func (s *Service) recognize(ctx context.Context, c Credentials) (Result, bool) {
	hash, ok := s.known.verified(c, s.Now())
	if !ok {
		return Result{}, false
	}
	o, err := s.Accounts.Observe(ctx, c.Username)
	switch {
	case ctx.Err() != nil:
		return Result{Outcome: Abandoned}, true
	case err != nil:
		s.Log.Error("Cannot look up an account", "error", err.Error())
		return Result{Outcome: Unavailable}, true
	case o.Row == nil || !o.Row.Active || o.Ended() || o.Locked() || o.FamiliarLocked() || o.Row.PasswordHash != hash:
		return Result{}, false
	}
	s.metrics.recognized.Inc()
	return Result{Outcome: Succeeded, Username: c.Username, Roles: o.Row.Roles, hash: o.Row.PasswordHash}, true
}
