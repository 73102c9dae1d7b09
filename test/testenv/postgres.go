// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"k8s.io/apimachinery/pkg/util/wait"
)

// A Postgres is a Postgres server, either managed by this package or the external one of TEST_DATABASE_DSN.
type Postgres struct {
	dsn      string // of an administrator, for the first database
	external bool   // the server of TEST_DATABASE_DSN, which is never stopped
	scope    *scope
	bin      string
	settings []string
	port     *port
	ended    <-chan struct{} // closed when the server process has ended
	server   *exec.Cmd

	mu    sync.Mutex
	roles []string
	names []string // of created databases

	admin atomic.Pointer[pgx.Conn] // an idle connection of the administrator, or nil
}

// StartPostgres starts a managed server with these settings (name=value), and returns when it accepts connections. The server
// ends with Stop, or with this process. If TEST_DATABASE_DSN is set, StartPostgres uses that server instead: its user has to
// be allowed to create databases and roles, and Stop drops those that were created.
func StartPostgres(ctx context.Context, settings ...string) (_ *Postgres, err error) {
	if dsn := os.Getenv("TEST_DATABASE_DSN"); dsn != "" {
		p := &Postgres{dsn: dsn, external: true}
		if err := p.ping(ctx); err != nil {
			return nil, fmt.Errorf("use the server of TEST_DATABASE_DSN: %w", err)
		}
		return p, nil
	}

	bin, err := found("find-postgres.sh")
	if err != nil {
		return nil, err
	}
	user, err := unprivileged()
	if err != nil {
		return nil, fmt.Errorf("start Postgres: %w", err)
	}
	s, err := newScope("postgres", user)
	if err != nil {
		return nil, err
	}
	p := &Postgres{scope: s, settings: settings}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if p.bin, err = s.reachable(bin); err != nil {
		return nil, fmt.Errorf("start Postgres: %w", err)
	}
	password := rand.Text()
	if err := p.initdb(password); err != nil {
		return nil, err
	}
	return p, p.startAnywhere(ctx, url.UserPassword("postgres", password))
}

// startAnywhere starts a managed server on a free port, with this administrator.
func (p *Postgres) startAnywhere(ctx context.Context, admin *url.Userinfo) (err error) {
	// A port that is not reserved may be taken meanwhile. Then the server exits, and gets another port.
	for attempt := 1; ; attempt++ {
		if p.port, err = p.scope.port(); err != nil {
			return err
		}
		p.dsn = (&url.URL{
			Scheme: "postgres", User: admin, Host: p.port.address(), Path: "/postgres", RawQuery: "sslmode=disable",
		}).String()
		err = p.Start(ctx)
		if err == nil || attempt == 3 || !errors.Is(err, errEnded) {
			return err
		}
	}
}

func (p *Postgres) initdb(password string) error {
	passwordFile, err := p.scope.write("password", password, 0o600)
	if err != nil {
		return err
	}
	cmd, err := p.scope.command("initdb", filepath.Join(p.bin, "initdb"), "--pgdata="+p.scope.path("data"),
		"--username=postgres", "--pwfile="+passwordFile, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
	if err != nil {
		return err
	}
	log, err := p.scope.log("initdb")
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return p.scope.withLog("initdb", fmt.Errorf("run initdb: %w", err))
	}
	return nil
}

// Start starts a managed server again after Halt, on the same data and port.
func (p *Postgres) Start(ctx context.Context) error {
	if p.external {
		return errExternal
	}
	args := []string{
		"-D", p.scope.path("data"),
		"-h", "127.0.0.1", "-p", p.port.number, "-k", "", // no Unix socket: its path could be too long
		"-c", "max_connections=300", "-c", "timezone=UTC", // not that of the machine
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off",
	}
	if testing.Testing() {
		// Autovacuum is expensive with hundreds of small databases, and JIT with short queries. Benchmarks keep both.
		args = append(args, "-c", "autovacuum=off", "-c", "jit=off")
	}
	for _, setting := range p.settings {
		args = append(args, "-c", setting)
	}
	cmd, err := p.scope.command("postgres", filepath.Join(p.bin, "postgres"), args...)
	if err != nil {
		return err
	}
	log, err := p.scope.log("postgres")
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start Postgres: %w", err)
	}
	running, _ := whileRunning(context.WithoutCancel(ctx), cmd, "postgres")
	p.server, p.ended = cmd, running.Done()

	var last error
	err = wait.PollUntilContextTimeout(ctx, pollInterval, startTimeout, true, func(ctx context.Context) (bool, error) {
		if running.Err() != nil {
			return false, context.Cause(running)
		}
		last = p.ping(ctx)
		return last == nil, nil
	})
	if err != nil {
		return p.scope.withLog("postgres", fmt.Errorf("start Postgres: %w", errors.Join(err, last)))
	}
	return nil
}

// Halt stops a managed server in mode "fast" (it disconnects clients and loses nothing), and returns when it has ended. The
// data stay for Start.
func (p *Postgres) Halt(ctx context.Context) error {
	return p.signal(ctx, syscall.SIGINT)
}

// Crash stops a managed server in mode "immediate": the next Start has to recover. The latest commits may be lost, unless the
// server has the setting synchronous_commit=on.
func (p *Postgres) Crash(ctx context.Context) error {
	return p.signal(ctx, syscall.SIGQUIT)
}

// Kill ends a managed server with SIGKILL. Its child processes end shortly after it.
func (p *Postgres) Kill(ctx context.Context) error {
	return p.signal(ctx, syscall.SIGKILL)
}

// signal ends a managed server with a signal, and returns when it has ended.
func (p *Postgres) signal(ctx context.Context, signal syscall.Signal) error {
	if p.external {
		return errExternal
	}
	if conn := p.admin.Swap(nil); conn != nil {
		_ = conn.Close(ctx)
	}
	if err := p.server.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end Postgres: %w", err)
	}
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("end Postgres: %w", ctx.Err())
	}
}

var errExternal = errors.New("this test cannot start and stop the server of TEST_DATABASE_DSN: unset the variable")

// Log returns the path of a managed server's log.
func (p *Postgres) Log() (string, error) {
	if p.external {
		return "", errExternal
	}
	return p.scope.logPath("postgres"), nil
}

// PID returns the process id of a managed server that runs; 0 for an external one.
func (p *Postgres) PID() int {
	if p.external {
		return 0
	}
	return p.server.Process.Pid
}

// DSN returns the DSN of an administrator, for a database without other uses.
func (p *Postgres) DSN() string {
	return p.dsn
}

// rightsOf15 sets the owner and the rights that the schema public has since Postgres 15, so that tests find the same rights
// in each version. In Postgres 14 all roles may create tables there, and the owner of the database has no other right.
const rightsOf15 = `REVOKE CREATE ON SCHEMA public FROM PUBLIC; ALTER SCHEMA public OWNER TO pg_database_owner`

// NewDatabase creates an empty database and returns an administrator's DSN for it.
func (p *Postgres) NewDatabase(ctx context.Context) (string, error) {
	return p.Copy(ctx, "")
}

// Copy creates a copy of the database of a DSN, and returns an administrator's DSN for it. There must be no connections to
// the original. For an empty DSN, the new database is empty.
func (p *Postgres) Copy(ctx context.Context, of string) (string, error) {
	name := "test_" + strings.ToLower(rand.Text())
	is14, err := p.create(ctx, name, of)
	if err != nil {
		return "", fmt.Errorf("create a database: %w", err)
	}
	p.mu.Lock()
	p.names = append(p.names, name)
	p.mu.Unlock()
	dsn, err := withDatabase(p.dsn, name)
	if err != nil || !is14 || of != "" {
		return dsn, err
	}
	if err := execute(ctx, dsn, rightsOf15); err != nil {
		return "", fmt.Errorf("set the owner and the rights of the schema public: %w", err)
	}
	return dsn, nil
}

// create creates a database, and returns whether the server is a Postgres 14. Since Postgres 15, it copies the template's
// files, which takes a third of the time of the default, a copy through the write-ahead log.
func (p *Postgres) create(ctx context.Context, name, of string) (is14 bool, err error) {
	template := ""
	if of != "" {
		config, err := pgx.ParseConfig(of)
		if err != nil {
			return false, fmt.Errorf("read the DSN: %w", err)
		}
		template = " TEMPLATE " + pgx.Identifier{config.Database}.Sanitize()
	}
	err = p.administer(ctx, func(conn *pgx.Conn) error {
		is14 = strings.HasPrefix(conn.PgConn().ParameterStatus("server_version"), "14.")
		if !is14 {
			template += " STRATEGY FILE_COPY"
		}
		_, err := conn.Exec(ctx, "CREATE DATABASE "+name+template)
		return err
	})
	return is14, err
}

// NewRole creates a role that may log in and has no rights but those of PUBLIC, and returns its DSN for the database of dsn.
func (p *Postgres) NewRole(ctx context.Context, dsn string) (string, error) {
	name, password := "role_"+strings.ToLower(rand.Text()), rand.Text()
	if err := p.exec(ctx, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", name, password)); err != nil {
		return "", fmt.Errorf("create a role: %w", err)
	}
	p.mu.Lock()
	p.roles = append(p.roles, name)
	p.mu.Unlock()
	return withUser(dsn, name, password)
}

// DropDatabase drops the database of a DSN of NewDatabase, and ends its connections.
func (p *Postgres) DropDatabase(ctx context.Context, dsn string) error {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return fmt.Errorf("read the DSN: %w", err)
	}
	return p.drop(ctx, config.Database)
}

func (p *Postgres) drop(ctx context.Context, name string) error {
	if err := p.exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop the database %s: %w", name, err)
	}
	return nil
}

// Stop ends a managed server and deletes its data. On an external server it drops the databases and roles that were created.
// It may be called again.
func (p *Postgres) Stop() error {
	if conn := p.admin.Swap(nil); conn != nil {
		_ = conn.Close(context.Background())
	}
	if !p.external {
		return p.scope.close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, name := range p.names {
		errs = append(errs, p.drop(ctx, name))
	}
	for _, role := range p.roles {
		errs = append(errs, p.exec(ctx, "DROP ROLE IF EXISTS "+role))
	}
	p.names, p.roles = nil, nil
	return errors.Join(errs...)
}

func (p *Postgres) ping(ctx context.Context) error {
	return p.exec(ctx, "SELECT 1")
}

// exec runs a statement as the administrator.
func (p *Postgres) exec(ctx context.Context, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return p.administer(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, statement)
		return err
	})
}

// administer calls do with a connection of the administrator. It reuses an idle connection, since connecting takes as long as
// most statements. If the idle connection is broken, administer calls do again with a new one.
func (p *Postgres) administer(ctx context.Context, do func(*pgx.Conn) error) error {
	conn := p.admin.Swap(nil)
	for isNew := conn == nil; ; isNew = true {
		if isNew {
			var err error
			if conn, err = pgx.Connect(ctx, p.dsn); err != nil {
				return err
			}
		}
		err := do(conn)
		if err == nil && !p.external {
			conn = p.admin.Swap(conn)
		}
		if conn != nil {
			_ = conn.Close(ctx)
		}
		var answer *pgconn.PgError
		if err == nil || isNew || (errors.As(err, &answer) && answer.SeverityUnlocalized == "ERROR") {
			return err
		}
	}
}

func execute(ctx context.Context, dsn, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}
