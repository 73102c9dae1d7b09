// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// Two stores, one of the controller and one of logins, have to lead to the same tables. If one of the DSNs named another database
// or schema, users would log in to accounts that no resource maintains, and no status would report their locks.

// mismatchedDSNs is the sentence for stores that lead to different tables.
const mismatchedDSNs = "It leads to another database or schema than the controller's; correct one of the DSNs or its " +
	"search_path, so that both lead to the same."

// isMismatched reports whether the store and its peer lead to different tables, and records that as a failure. While one of the
// two cannot be asked, the last answer holds.
func (s *Store) isMismatched(ctx context.Context) bool {
	peer := s.settings.Peer
	if peer == nil {
		return false
	}
	renewals := s.sessions.now() + peer.sessions.now()
	isDue := s.mismatched.Load() || time.Since(s.compared) >= s.timing.compare || renewals != s.comparedAfter
	if !isDue {
		return s.mismatched.Load()
	}
	other, err := peer.identify(ctx)
	var own identity
	if err == nil {
		own, err = s.identify(ctx)
	}
	if err != nil {
		return s.mismatched.Load()
	}
	s.compared, s.comparedAfter = time.Now(), renewals
	mismatched := own.isKnown() && other.isKnown() && !own.meets(other)
	isNew := mismatched && !s.mismatched.Load() && !s.mismatchSuspected
	s.mismatchSuspected = mismatched
	if isNew { // one of the two may not have followed its DSN yet: the next check decides
		s.compared = time.Time{}
		s.renew(lastRenewal)
		peer.renew(lastRenewal)
		return false
	}
	if mismatched {
		_ = s.took(class{kind: unreadable, sentence: mismatchedDSNs}, nil)
		s.health.setUseless(none) // the database is available, and the fallback would be merged into it
	}
	s.mismatched.Store(mismatched)
	return mismatched
}

func (s *Store) errMismatched() *store.UnavailableError {
	return &store.UnavailableError{Sentence: s.settings.Role.aboutDSN(mismatchedDSNs), Unsent: true}
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
