// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/session"
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
	renewals := s.sessions.Renewals() + peer.sessions.Renewals()
	isDue := s.mismatched.Load() || time.Since(s.compared) >= s.timing.compare || renewals != s.comparedAfter
	if !isDue {
		return s.mismatched.Load()
	}
	other, err := peer.identify(ctx)
	var own session.Identity
	if err == nil {
		own, err = s.identify(ctx)
	}
	if err != nil {
		return s.mismatched.Load()
	}
	s.compared, s.comparedAfter = time.Now(), renewals
	mismatched := own.IsKnown() && other.IsKnown() && !own.Meets(other)
	isNew := mismatched && !s.mismatched.Load() && !s.mismatchSuspected
	s.mismatchSuspected = mismatched
	if isNew { // one of the two may not have followed its DSN yet: the next check decides
		s.compared = time.Time{}
		s.renew(session.LastRenewal)
		peer.renew(session.LastRenewal)
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

// identify asks where a connection of the pool leads.
func (s *Store) identify(ctx context.Context) (session.Identity, error) {
	limited, cancel := context.WithTimeout(ctx, s.timing.lookPool)
	defer cancel()
	conn, err := s.pool.Acquire(limited)
	if err != nil {
		return session.Identity{}, err
	}
	defer conn.Release()
	return s.sessions.Ask(limited, conn.Conn().PgConn())
}
