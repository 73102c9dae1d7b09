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

// recognized remembers credentials that passed, as fingerprints under a key of this process: HMAC over username,
// password and the hash that the password was verified against. With another hash in the row, it is another fingerprint.
type recognized struct {
	prints *password.Fingerprinter
	ttl    time.Duration
	until  *lru.Cache[password.Fingerprint, time.Time]
}

// newRecognized returns nil, which remembers nothing, for a time of 0.
func newRecognized(ttl time.Duration) *recognized {
	if ttl == 0 {
		return nil
	}
	return &recognized{prints: password.NewFingerprinter(), ttl: ttl, until: newLRU[password.Fingerprint, time.Time](maxRecognized)}
}

// of is the fingerprint. None of its parts can hold the NUL that parts them: no username and no hash has one (Postgres
// refuses them), and no password that passed.
func (k *recognized) of(c Credentials, hash string) password.Fingerprint {
	return k.prints.Of([]byte(c.Username + "\x00" + hash + "\x00" + c.Password))
}

func (k *recognized) remember(c Credentials, hash string, now time.Time) {
	if k != nil {
		k.until.Add(k.of(c, hash), now.Add(k.ttl))
	}
}

// knows tells whether the credentials passed lately against this hash.
func (k *recognized) knows(c Credentials, hash string, now time.Time) bool {
	until, ok := k.until.Get(k.of(c, hash))
	return ok && now.Before(until)
}

// recognize passes credentials that passed lately, if the account lets them pass now. It decides nothing else, but that
// there is nothing to decide from.
func (s *Service) recognize(ctx context.Context, c Credentials) (Result, bool) {
	if s.known == nil || !possible(c.Username) {
		return Result{}, false
	}
	o, err := s.Accounts.Observe(ctx, c.Username)
	switch {
	case ctx.Err() != nil:
		return Result{Outcome: Abandoned}, true
	case err != nil:
		s.Log.Error("An account could not be looked up", "error", err.Error())
		return Result{Outcome: Unavailable}, true
	case o.Row == nil || !o.Row.Active || o.Locked() || !s.known.knows(c, o.Row.PasswordHash, s.Now()):
		return Result{}, false
	}
	s.metrics.recognized.Inc()
	return Result{Outcome: Succeeded, Username: c.Username, Roles: o.Row.Roles, hash: o.Row.PasswordHash}, true
}
