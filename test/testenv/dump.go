// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Dump writes a database to a file with pg_dump, in the custom format.
func Dump(ctx context.Context, dsn, file string) error {
	return runClient(ctx, dsn, "pg_dump", "--format=custom", "--file="+file)
}

// Restore restores a database from a file of Dump with pg_restore and these further arguments.
func Restore(ctx context.Context, dsn, file string, args ...string) error {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return fmt.Errorf("read the DSN: %w", err)
	}
	return runClient(ctx, dsn, "pg_restore", append(args, "--dbname="+config.Database, file)...)
}

// runClient runs a Postgres client program. The password is in the environment, not in the arguments.
func runClient(ctx context.Context, dsn, name string, args ...string) error {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return fmt.Errorf("read the DSN: %w", err)
	}
	program, err := clientProgram(name)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, append([]string{"--no-password"}, args...)...)
	cmd.Env = append(os.Environ(),
		"PGHOST="+config.Host, "PGPORT="+strconv.Itoa(int(config.Port)), "PGDATABASE="+config.Database,
		"PGUSER="+config.User, "PGPASSWORD="+config.Password)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w: %s", name, err, strings.TrimSpace(string(output)))
	}
	return nil
}
