// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// Two stores, of the controller and of the log-in side, have to lead to the same tables. Where one of the DSNs names another
// database or another schema, people would log in to accounts that nobody maintains, and be locked where nobody sees it.

// askIdentity tells of which server the tables are, in which of its databases, and which table users is. The server is known
// by what initdb drew by lot: standbys and former primaries have it too.
const askIdentity = `
SELECT system_identifier::text, (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),
       COALESCE(to_regclass('` + usersTable + `')::oid::bigint, 0)
FROM pg_control_system()`

// astray is the sentence for stores that lead to different tables.
const astray = "It leads to another database or schema than the controller's; both DSNs have to name the same, and so has " +
	"their search_path."

// identity is which tables a store leads to.
type identity struct {
	server          string
	database, users int64 // OIDs; no users is 0
}

// meets tells whether a store that was asked after the other one leads to the same tables, as far as there are any: which
// may have been made meanwhile, and may be hidden from a role that may not use the schema.
func (i identity) meets(other identity) bool {
	if i.server != other.server || i.database != other.database {
		return false
	}
	return i.users == other.users || i.users == 0 || other.users == 0
}

// isAstray finds out whether the store leads elsewhere than the one beside it, and then takes note of that as a failure. As long
// as one of the two cannot be asked, it is what it was last.
func (s *Store) isAstray(ctx context.Context) bool {
	if s.settings.Beside == nil || (!s.strays.Load() && time.Since(s.compared) < s.timing.compare) {
		return s.strays.Load()
	}
	other, err := s.settings.Beside.identify(ctx)
	var own identity
	if err == nil {
		own, err = s.identify(ctx)
	}
	var refusal *pgconn.PgError
	switch {
	case errors.As(err, &refusal) && refusal.Code == codeMissingRight:
		s.compared = time.Now().Add(askAgain)
		return s.strays.Load()
	case err != nil:
		return s.strays.Load()
	}
	s.compared = time.Now()
	strays := !own.meets(other)
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

// askAgain is when a server that lets nobody know which one it is is asked again: each time is a line in its log.
const askAgain = 24 * time.Hour

// identify asks which tables the store leads to.
func (s *Store) identify(ctx context.Context) (identity, error) {
	limited, cancel := context.WithTimeout(ctx, s.timing.lookPool)
	defer cancel()
	var i identity
	err := s.pool.QueryRow(limited, askIdentity).Scan(&i.server, &i.database, &i.users)
	return i, err
}
