// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/sharding-system/shardinguser-operator/internal/config"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres"
)

// A reader reads the database. It never writes.
type reader interface {
	Accounts(ctx context.Context) ([]store.Account, error)
	Attempts(ctx context.Context, trail store.Trail) ([]store.Record, error)
	Close()
}

// database is the flag --dsn-file.
type database struct{ file string }

const aboutDSN = `The database is that of the file --dsn-file, or of the environment variable USER_DATABASE_DSN, as for the operator. A DSN
is never an argument, which everybody on the machine could read.`

func (d *database) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.file, "dsn-file", "", "File with the DSN of the database (default: the environment's USER_DATABASE_DSN)")
	if err := cmd.MarkFlagFilename("dsn-file"); err != nil {
		panic(err) // the flag was just added
	}
}

// open is a reader of the database; nothing is asked of it yet.
func (d *database) open() (reader, error) {
	dsn, err := config.FindDSN(d.file)
	if err != nil {
		return nil, err
	}
	if dsn == "" {
		return nil, errors.New("there is no DSN of the database: give --dsn-file, or set USER_DATABASE_DSN")
	}
	return postgres.Open(postgres.Settings{
		DSN:              func() (string, error) { return string(dsn), nil },
		MaxConns:         1,
		MinIdleConns:     -1,
		StatementTimeout: time.Minute,
	})
}
