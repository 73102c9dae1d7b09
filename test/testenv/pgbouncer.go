// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
	"k8s.io/apimachinery/pkg/util/wait"
)

// A PgBouncer is a running one, in transaction mode, before a database.
type PgBouncer struct {
	scope   *scope
	address string
	dsn     string // what it was started for
}

// pgbouncerMain is the configuration but for addresses. Five connections to the server are fewer than the operator wants, so
// that its sessions do change between transactions.
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

// StartPgBouncer starts one for the database and the role of a DSN, and returns when it takes connections. More settings
// (name = value) are as in its own configuration. It ends with Stop, or with this process.
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
	// Where nothing keeps the port, it may be taken by the time it is wanted: then PgBouncer ends, and gets another.
	for attempt := 1; ; attempt++ {
		port, err := s.port()
		if err != nil {
			return nil, err
		}
		b.address = port.address()
		_, err = s.write("pgbouncer.ini", fmt.Sprintf(pgbouncerMain, config.Database, config.Host, config.Port, port.number,
			strings.Join(settings, "\n")), 0o600)
		if err != nil {
			return nil, err
		}
		if err = b.start(ctx, program); err == nil {
			return b, nil
		}
		if attempt == 3 || !errors.Is(err, errEnded) {
			return nil, err
		}
	}
}

func (b *PgBouncer) start(ctx context.Context, program string) error {
	cmd, err := b.scope.command("pgbouncer", program, "pgbouncer.ini")
	if err != nil {
		return err
	}
	log, err := b.scope.log("pgbouncer")
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start PgBouncer: %w", err)
	}
	running, _ := whileRunning(context.WithoutCancel(ctx), cmd, "pgbouncer")
	err = wait.PollUntilContextTimeout(ctx, pollInterval, startTimeout, true, func(ctx context.Context) (bool, error) {
		if running.Err() != nil {
			return false, context.Cause(running)
		}
		connection, err := new(net.Dialer).DialContext(ctx, "tcp", b.address)
		if err != nil {
			return false, nil //nolint:nilerr // not yet
		}
		return true, connection.Close()
	})
	if err != nil {
		return b.scope.withLog("pgbouncer", fmt.Errorf("start PgBouncer: %w", err))
	}
	return nil
}

// DSN leads through it, with these parameters (name=value) besides.
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

// Tail is the end of what it printed.
func (b *PgBouncer) Tail() string {
	return tail(b.scope.logPath("pgbouncer"))
}

// Stop ends it, with all its files. It may be called again.
func (b *PgBouncer) Stop() error {
	return b.scope.close()
}
