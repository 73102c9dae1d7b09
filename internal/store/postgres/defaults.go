// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/backoff"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// listDefaults lists the active accounts with one of these hashes, whatever follows it, and counts all of them. It reads the whole table: an index
// would be written for each new password, and is asked once a minute.
const listDefaults = `
SELECT u.username::text, pg_catalog.count(*) OVER ()
FROM users u WHERE u.active AND pg_catalog.left(u.password_hash::text, 60) = ANY ($1::text[])
ORDER BY u.username::text COLLATE "C" LIMIT $2::bigint`

// keepFindingDefaults looks for default passwords as soon as the tables exist, and every DefaultsInterval, until ctx ends.
func (s *Store) keepFindingDefaults(ctx context.Context) {
	if !s.settings.Role.makesSchema() {
		return // the controller's store does
	}
	select {
	case <-s.migrated:
	case <-ctx.Done():
		return
	}
	delay := s.newDelay()
	for {
		if err := s.findDefaults(ctx); err != nil { // logged where it changes the database's state
			if !delay.Wait(ctx) {
				return
			}
			continue
		}
		delay.Reset()
		if !backoff.Pause(ctx, s.settings.DefaultsInterval) {
			return
		}
	}
}

// findDefaults searches once, keeps the result and logs what is new.
func (s *Store) findDefaults(ctx context.Context) error {
	found, err := s.readDefaults(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	before := s.defaults
	s.defaults = found
	s.mu.Unlock()
	isKnown := func(username string) bool { return slices.Contains(before.Usernames, username) }
	switch {
	case found.Count == 0 && before.Count > 0:
		s.settings.Log.Info("No account has a default password of the sharding manager any longer")
	case found.Count > before.Count, slices.ContainsFunc(found.Usernames, func(username string) bool { return !isKnown(username) }):
		s.settings.Log.Warn("Accounts have a well-known default password of the sharding manager; change their passwords, "+
			"or delete or deactivate them", "accounts", found.Count, "usernames", found.Clean().Usernames[:min(10, len(found.Usernames))])
	}
	return nil
}

func (s *Store) readDefaults(ctx context.Context) (found store.DefaultPasswords, err error) {
	err = s.run(ctx, reads, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		found = store.DefaultPasswords{}
		rows, err := conn.Query(ctx, listDefaults, user.DefaultHashes(), store.MostDefaultPasswords)
		if err != nil {
			return err
		}
		var username string
		_, err = pgx.ForEachRow(rows, []any{&username, &found.Count}, func() error {
			found.Usernames = append(found.Usernames, username)
			return nil
		})
		return err
	})
	return found, err
}

// Beginning reads the first accounts of the table, at most limit of them, and whether an operator ever kept one in this
// database. Its errors are Observe's.
func (s *Store) Beginning(ctx context.Context, limit int) (store.Beginning, error) {
	var beginning store.Beginning
	err := s.run(ctx, reads, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		if err := conn.QueryRow(ctx, askUsed).Scan(&beginning.Used); err != nil {
			return err
		}
		rows, err := conn.Query(ctx, listOwned+` LIMIT $1::bigint`, limit)
		if err != nil {
			return err
		}
		beginning.Accounts, err = pgx.CollectRows(rows, scanListed)
		return err
	})
	if err != nil {
		return store.Beginning{}, err
	}
	return beginning, nil
}
