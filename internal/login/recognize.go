// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sharding-system/shardinguser-operator/internal/password"
)

// maxRecognized is how many credentials are remembered, a few megabytes of them.
const maxRecognized = 1 << 14

// recognized remembers credentials that passed, as fingerprints under a key of this process (HMAC over username and
// password), with the hash that the password was verified against: with another hash in the row they count no more.
type recognized struct {
	prints *password.Fingerprinter
	ttl    time.Duration
	passed *lru.Cache[password.Fingerprint, passed]
}

// passed tells of credentials what they were verified against, and until when that is worth anything.
type passed struct {
	hash  string
	until time.Time
}

// newRecognized returns nil, which remembers nothing, for a time of 0.
func newRecognized(ttl time.Duration) *recognized {
	if ttl == 0 {
		return nil
	}
	return &recognized{prints: password.NewFingerprinter(), ttl: ttl, passed: newLRU[password.Fingerprint, passed](maxRecognized)}
}

// of is the fingerprint. Neither of its parts can hold the NUL that parts them: no username has one (Postgres refuses
// them), and no password that passed.
func (k *recognized) of(c Credentials) password.Fingerprint {
	return k.prints.Of([]byte(c.Username + "\x00" + c.Password))
}

// fingerprint is of, and zero where nothing is recognised.
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

// verified is the hash that the credentials passed against lately.
func (k *recognized) verified(c Credentials, now time.Time) (hash string, ok bool) {
	if k == nil {
		return "", false
	}
	known, ok := k.passed.Get(k.of(c))
	return known.hash, ok && now.Before(known.until)
}

// recognize passes credentials that passed lately, if the account lets them pass now. It decides nothing else, but that
// there is nothing to decide from. Who did not pass lately costs the store nothing here: nobody throttled him yet.
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
	case o.Row == nil || !o.Row.Active || o.Locked() || o.Row.PasswordHash != hash:
		return Result{}, false
	}
	s.metrics.recognized.Inc()
	return Result{Outcome: Succeeded, Username: c.Username, Roles: o.Row.Roles, hash: o.Row.PasswordHash}, true
}
