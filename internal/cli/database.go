// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/sharding-system/shardinguser-operator/internal/dsn"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres"
)

// A reader reads the database. It never writes.
type reader interface {
	Accounts(ctx context.Context) ([]store.Account, error)
	ReadAttempts(ctx context.Context, trail store.Trail) ([]store.CountedRecord, error)
	Changes(ctx context.Context, query store.ChangeQuery) ([]store.AccountChange, error)
	Close()
}

// database is the flag --dsn-file.
type database struct{ file string }

const aboutDSN = `The database DSN comes from the file --dsn-file, or from the environment variable USER_DATABASE_DSN, as for the operator. A
DSN is never an argument, because other users of the machine could read it.`

func (d *database) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.file, "dsn-file", "", "File that contains the database DSN (default: the environment variable USER_DATABASE_DSN)")
	if err := cmd.MarkFlagFilename("dsn-file"); err != nil {
		panic(err) // the flag was just added
	}
}

// open is a reader of the database; nothing is asked of it yet.
func (d *database) open() (reader, error) { return d.openStore() }

// openStore is open for the command that writes.
func (d *database) openStore() (*postgres.Store, error) {
	text, err := dsn.Find(d.file)
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, errors.New("no database DSN is set; use --dsn-file, or set USER_DATABASE_DSN")
	}
	return postgres.Open(postgres.Settings{
		DSN:              func() (string, error) { return string(text), nil },
		MaxConns:         1,
		MinIdleConns:     -1,
		StatementTimeout: time.Minute,
	})
}
