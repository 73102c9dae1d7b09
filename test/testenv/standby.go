// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
	"k8s.io/apimachinery/pkg/util/wait"
)

// NewStandby starts a standby of a server of our own: another one that streams all that the first commits, answers queries,
// and takes no writes until Promote. It has the same databases and roles, and ends with its own Stop.
func (p *Postgres) NewStandby(ctx context.Context) (_ *Postgres, err error) {
	if p.external {
		return nil, errExternal
	}
	primary, err := url.Parse(p.dsn)
	if err != nil {
		return nil, errors.New("start a standby: the DSN is no URL") // the parser's own error would hold the password
	}
	scope, err := newScope("postgres-standby", p.scope.user)
	if err != nil {
		return nil, err
	}
	standby := &Postgres{scope: scope, bin: p.bin, settings: p.settings}
	defer func() {
		if err != nil {
			err = errors.Join(err, scope.close())
		}
	}()
	if err := standby.copyFrom(primary); err != nil {
		return nil, err
	}
	return standby, standby.startAnywhere(ctx, primary.User)
}

// copyFrom takes the primary's data as they are, with a note on where to go on from.
func (p *Postgres) copyFrom(primary *url.URL) error {
	password, _ := primary.User.Password()
	program, err := clientProgram("pg_basebackup")
	if err != nil {
		return err
	}
	cmd, err := p.scope.command("pg_basebackup", program, "--pgdata="+p.scope.path("data"),
		"--host="+primary.Hostname(), "--port="+primary.Port(), "--username="+primary.User.Username(), "--no-password",
		"--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync")
	if err != nil {
		return err
	}
	cmd.Env = append(cmd.Environ(), "PGPASSWORD="+password)
	log, err := p.scope.log("pg_basebackup")
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return p.scope.withLog("pg_basebackup", fmt.Errorf("copy the primary: %w", err))
	}
	return nil
}

// CatchUp waits until a standby has all that its primary has committed by now.
func (p *Postgres) CatchUp(ctx context.Context, primary *Postgres) error {
	var position string
	err := primary.query(ctx, "SELECT pg_current_wal_insert_lsn()::text", &position)
	if err != nil {
		return fmt.Errorf("ask the primary for its position: %w", err)
	}
	err = wait.PollUntilContextTimeout(ctx, pollInterval, startTimeout, true, func(ctx context.Context) (there bool, err error) {
		err = p.query(ctx, "SELECT pg_last_wal_replay_lsn() >= '"+position+"'", &there)
		return there, err
	})
	if err != nil {
		return fmt.Errorf("wait for the standby: %w", err)
	}
	return nil
}

// Promote makes a standby a primary, and returns when it takes writes.
func (p *Postgres) Promote(ctx context.Context) error {
	var promoted bool
	if err := p.query(ctx, "SELECT pg_promote()", &promoted); err != nil {
		return fmt.Errorf("promote the standby: %w", err)
	}
	if !promoted {
		return p.scope.withLog("postgres", errors.New("promote the standby: it did not happen in time"))
	}
	return nil
}

// query asks for one value on a connection of its own.
func (p *Postgres) query(ctx context.Context, query string, value any) error {
	conn, err := pgx.Connect(ctx, p.dsn)
	if err != nil {
		return err
	}
	return errors.Join(conn.QueryRow(ctx, query).Scan(value), conn.Close(ctx))
}

// WithHosts is the DSN, a URL, with the addresses of these servers in its place, in this order, of which one that takes
// writes is to be used.
func WithHosts(dsn string, servers ...*Postgres) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", errors.New("change a DSN: it is no URL")
	}
	var addresses []string
	for _, server := range servers {
		address, err := addrOf(server.dsn)
		if err != nil {
			return "", err
		}
		addresses = append(addresses, address)
	}
	u.Host = strings.Join(addresses, ",")
	query := u.Query()
	query.Set("target_session_attrs", "read-write")
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// On is the DSN, of a database and a role that a standby and its primary share, on this one of them.
func (p *Postgres) On(dsn string) (string, error) {
	address, err := addrOf(p.dsn)
	if err != nil {
		return "", err
	}
	return WithAddr(dsn, address)
}
