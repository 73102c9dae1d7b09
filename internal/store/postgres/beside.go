// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// Two stores, of the controller and of the log-in side, have to lead to the same tables. Where one of the DSNs names another
// database or another schema, people would log in to accounts that nobody maintains, and be locked where nobody sees it.

// astray is the sentence for stores that lead to different tables.
const astray = "It leads to another database or schema than the controller's; both DSNs have to name the same, and so has " +
	"their search_path."

// isAstray finds out whether the store leads elsewhere than the one beside it, and then takes note of that as a failure. As long
// as one of the two cannot be asked, it is what it was last.
func (s *Store) isAstray(ctx context.Context) bool {
	beside := s.settings.Beside
	if beside == nil {
		return false
	}
	renewals := s.sessions.now() + beside.sessions.now()
	isDue := s.strays.Load() || time.Since(s.compared) >= s.timing.compare || renewals != s.comparedAfter
	if !isDue {
		return s.strays.Load()
	}
	other, err := beside.identify(ctx)
	var own identity
	if err == nil {
		own, err = s.identify(ctx)
	}
	if err != nil {
		return s.strays.Load()
	}
	s.compared, s.comparedAfter = time.Now(), renewals
	strays := own.isKnown() && other.isKnown() && !own.meets(other)
	isNew := strays && !s.strays.Load() && !s.suspects
	s.suspects = strays
	if isNew { // one of the two may not have followed its DSN yet: the next check decides
		s.compared = time.Time{}
		s.renew(lastRenewal)
		beside.renew(lastRenewal)
		return false
	}
	if strays {
		_ = s.took(verdict{kind: unreadable, sentence: astray}, nil)
		s.health.setUseless(none) // it is there, and what is decided from memory would be merged into it
	}
	s.strays.Store(strays)
	return strays
}

func (s *Store) errAstray() *store.UnavailableError {
	return &store.UnavailableError{Sentence: s.settings.Role.aboutDSN(astray), Unsent: true}
}

// askAgain is when a server is asked again what it refused to answer: each refusal is a line in its log.
const askAgain = 24 * time.Hour

// identify asks where a connection of the pool leads.
func (s *Store) identify(ctx context.Context) (identity, error) {
	limited, cancel := context.WithTimeout(ctx, s.timing.lookPool)
	defer cancel()
	conn, err := s.pool.Acquire(limited)
	if err != nil {
		return identity{}, err
	}
	defer conn.Release()
	pooled := conn.Conn().PgConn()
	return s.sessions.identifier.identify(limited, pooled, s.sessions.of(pooled).path)
}
