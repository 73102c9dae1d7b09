// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// isUnencodable reports whether the database, which does not use UTF-8, cannot encode a text.
func isUnencodable(err error) bool {
	var refusal *pgconn.PgError
	return errors.As(err, &refusal) && (refusal.Code == "22P05" || refusal.Code == "22021")
}

// unencodable returns the texts that the database cannot encode, and so does not have. It finds them by bisection: the server
// does not say which one it rejects.
func (s *Store) unencodable(ctx context.Context, texts []string) (map[string]bool, error) {
	unencodable := map[string]bool{}
	var search func(texts []string) error
	search = func(texts []string) error {
		err := s.run(ctx, asks, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
			_, err := conn.Exec(ctx, "SELECT $1::text[]", texts)
			return err
		})
		switch half := len(texts) / 2; {
		case !isUnencodable(err):
			return err
		case half == 0:
			unencodable[texts[0]] = true
			return nil
		default:
			return errors.Join(search(texts[:half]), search(texts[half:]))
		}
	}
	return unencodable, search(texts)
}
