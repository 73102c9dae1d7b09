// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// isUnencodable reports whether a database that is not in UTF-8 cannot write a text.
func isUnencodable(err error) bool {
	var refusal *pgconn.PgError
	return errors.As(err, &refusal) && (refusal.Code == "22P05" || refusal.Code == "22021")
}

// unencodable is those of the texts that the database cannot write, and so has not. It finds them by halves: the server
// does not say which one it refuses.
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
