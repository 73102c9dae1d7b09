// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A PgBouncer is a running PgBouncer in transaction mode, for one database.
type PgBouncer struct {
	scope   *scope
	address string
	dsn     string // of the database behind it
}

// pgbouncerMain is the configuration without addresses. Five connections are fewer than the operator uses, so that its
// transactions change sessions.
const pgbouncerMain = `
[databases]
%s = host=%s port=%d

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = scram-sha-256
auth_file = users.txt
pool_mode = transaction
default_pool_size = 5
max_client_conn = 200
%s
`

// StartPgBouncer starts a PgBouncer for the database and the role of a DSN, with these further settings (name = value). It
// returns when PgBouncer accepts connections. PgBouncer ends with Stop, or with this process.
func StartPgBouncer(ctx context.Context, dsn string, settings ...string) (_ *PgBouncer, err error) {
	program, err := found("find-program.sh", "pgbouncer")
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("read the DSN: %w", err)
	}
	user, err := unprivileged()
	if err != nil {
		return nil, fmt.Errorf("start PgBouncer: %w", err)
	}
	s, err := newScope("pgbouncer", user)
	if err != nil {
		return nil, err
	}
	b := &PgBouncer{scope: s, dsn: dsn}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if _, err := s.write("users.txt", fmt.Sprintf("%q %q\n", config.User, config.Password), 0o600); err != nil {
		return nil, err
	}
	b.address, err = s.serve(ctx, server{
		name: "pgbouncer", program: program,
		at: func(port *port) ([]string, error) {
			_, err := s.write("pgbouncer.ini", fmt.Sprintf(pgbouncerMain, config.Database, config.Host, config.Port, port.number,
				strings.Join(settings, "\n")), 0o600)
			return []string{"pgbouncer.ini"}, err
		},
	})
	return b, err
}

// DSN returns the DSN that leads through PgBouncer, with these further parameters (name=value).
func (b *PgBouncer) DSN(parameters ...string) (string, error) {
	through, err := WithAddr(b.dsn, b.address)
	if err != nil {
		return "", err
	}
	keywords := strings.Join(parameters, " ")
	return change(through, func(u *url.URL) {
		query := u.Query()
		for _, parameter := range parameters {
			name, value, _ := strings.Cut(parameter, "=")
			query.Set(name, value)
		}
		u.RawQuery = query.Encode()
	}, keywords)
}

// Tail returns the end of PgBouncer's output.
func (b *PgBouncer) Tail() string {
	return tail(b.scope.logPath("pgbouncer"))
}

// Stop ends PgBouncer and deletes its files. It may be called again.
func (b *PgBouncer) Stop() error {
	return b.scope.close()
}
