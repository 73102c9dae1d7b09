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

// NewStandby starts a hot standby of a managed server, by streaming replication. It rejects writes until Promote. It ends with
// its own Stop.
func (p *Postgres) NewStandby(ctx context.Context) (_ *Postgres, err error) {
	if p.external {
		return nil, errExternal
	}
	primary, err := url.Parse(p.dsn)
	if err != nil {
		return nil, errors.New("start a standby: the DSN is not a URL") // the parser's error would contain the password
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

// copyFrom copies the primary's data with pg_basebackup, which also configures the replication.
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

// CatchUp waits until a standby has applied everything that its primary has committed before the call.
func (p *Postgres) CatchUp(ctx context.Context, primary *Postgres) error {
	var position string
	err := primary.query(ctx, "SELECT pg_current_wal_insert_lsn()::text", &position)
	if err != nil {
		return fmt.Errorf("query the position of the primary: %w", err)
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

// Promote makes a standby a primary, and returns when it accepts writes.
func (p *Postgres) Promote(ctx context.Context) error {
	var promoted bool
	if err := p.query(ctx, "SELECT pg_promote()", &promoted); err != nil {
		return fmt.Errorf("promote the standby: %w", err)
	}
	if !promoted {
		return p.scope.withLog("postgres", errors.New("promote the standby: timed out"))
	}
	return nil
}

// query returns one value. It uses a new connection.
func (p *Postgres) query(ctx context.Context, query string, value any) error {
	conn, err := pgx.Connect(ctx, p.dsn)
	if err != nil {
		return err
	}
	return errors.Join(conn.QueryRow(ctx, query).Scan(value), conn.Close(ctx))
}

// WithHosts returns the DSN, a URL, with the addresses of these servers, in this order, and target_session_attrs=read-write.
func WithHosts(dsn string, servers ...*Postgres) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", errors.New("change a DSN: it is not a URL")
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

// On returns the DSN with this server's address. A standby has the databases and roles of its primary.
func (p *Postgres) On(dsn string) (string, error) {
	address, err := addrOf(p.dsn)
	if err != nil {
		return "", err
	}
	return WithAddr(dsn, address)
}
