// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const (
	poll     = 20 * time.Millisecond
	patience = time.Hour // for any step: 100,000 users on a busy machine
)

// A stage is the environment of rows: a control plane, a database and a number of users. The manager starts and stops.
type stage struct {
	size  sizes
	users int
	say   func(format string, arguments ...any)

	cluster    *testenv.ControlPlane
	api        client.WithWatch // an administrator's, without a rate limit
	http       *http.Client     // an administrator's, too
	raw        *rawAPI
	postgres   *testenv.Postgres
	db         *pgx.Conn // an administrator's
	statements bool      // whether Postgres counts them

	namespace string
	rights    *rest.Config // the manager's
	dsn, role string       // the manager's
	token     string       // of an account that may read the metrics

	concurrency int              // the manager's
	manager     *testenv.Manager // nil while none runs

	row       string // the running row
	profiles  string // where the manager serves them
	profiling sync.WaitGroup

	passwords []string      // of the users, if plain
	formerRSS float64       // MiB, of the manager that reconciled all users first
	emptyTook time.Duration // until a manager without users was ready
}

// newStage starts the servers.
func newStage(ctx context.Context, size sizes, users int, say func(string, ...any)) (_ *stage, err error) {
	s := &stage{size: size, users: users, say: say}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(ctx))
		}
	}()
	var group errgroup.Group
	group.Go(func() (err error) {
		s.cluster, err = testenv.StartControlPlane(ctx)
		return err
	})
	group.Go(func() (err error) {
		s.postgres, s.statements, err = startPostgres(ctx)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if s.concurrency, err = concurrencyOf(ctx, size.program); err != nil {
		return nil, err
	}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	if err := s.openDatabase(ctx); err != nil {
		return nil, err
	}
	if err := s.giveRights(ctx); err != nil {
		return nil, err
	}
	s.raw, err = newRawAPI(ctx, s)
	return s, err
}

// startPostgres starts a server that counts statements if it can.
func startPostgres(ctx context.Context) (server *testenv.Postgres, counts bool, err error) {
	if server, err = testenv.StartPostgres(ctx, "shared_preload_libraries=pg_stat_statements"); err == nil {
		return server, true, nil
	}
	server, err = testenv.StartPostgres(ctx)
	return server, false, err
}

// connect creates the administrator's clients and the namespace of the users.
func (s *stage) connect(ctx context.Context) (err error) {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	config := s.cluster.Config()
	config.QPS = -1
	if s.http, err = rest.HTTPClientFor(config); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	if s.api, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-"}}
	if err := s.api.Create(ctx, namespace); err != nil {
		return fmt.Errorf("create a namespace: %w", err)
	}
	s.namespace = namespace.Name
	return nil
}

// openDatabase creates a database, and a role for the manager by which its statements are counted.
func (s *stage) openDatabase(ctx context.Context) error {
	dsn, err := s.postgres.NewDatabase(ctx)
	if err != nil {
		return err
	}
	if s.db, err = pgx.Connect(ctx, dsn); err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	if s.dsn, err = s.postgres.NewRole(ctx, dsn); err != nil {
		return err
	}
	config, err := pgx.ParseConfig(s.dsn)
	if err != nil {
		return fmt.Errorf("read the manager's DSN: %w", err)
	}
	s.role = config.User
	if _, err := s.db.Exec(ctx, "GRANT CREATE ON SCHEMA public TO "+s.role); err != nil {
		return fmt.Errorf("let the manager make its tables: %w", err)
	}
	if !s.statements || s.exec(ctx, "CREATE EXTENSION pg_stat_statements") != nil {
		s.statements = false
		s.say("This Postgres does not count statements: they are missing below")
	}
	return nil
}

func (s *stage) giveRights(ctx context.Context) (err error) {
	if s.rights, err = s.cluster.Install(ctx); err != nil {
		return err
	}
	s.token, err = s.cluster.Scraper(ctx)
	return err
}

// start starts the manager as its ServiceAccount with default settings, except for addresses, a signing secret, and no
// limit of logins from one address, because all come from one. It does not wait.
func (s *stage) start() error {
	profiles, err := s.profileAt()
	if err != nil {
		return err
	}
	s.manager, err = s.cluster.StartManager(testenv.ManagerOptions{
		Program: s.size.program, Rights: s.rights, DSN: s.dsn, Secret: rand.Text() + rand.Text(),
		Args: slices.Concat([]string{"--login-source-rate=0", "--verify-cache-ttl=1h"}, profiles, s.size.arguments),
	})
	return err
}

// ensureManager starts the manager unless it runs, and waits until it is ready and has nothing to do.
func (s *stage) ensureManager(ctx context.Context) error {
	if s.manager == nil {
		if err := s.start(); err != nil {
			return err
		}
	}
	return s.quiet(ctx)
}

// quiet waits until the manager has reconciled all users and writes no more statuses.
func (s *stage) quiet(ctx context.Context) error {
	last, since := -1.0, time.Now()
	return s.within(ctx, "the manager to have nothing to do", s.scrapes(), func(ctx context.Context) (bool, error) {
		counted, ok := s.scrape(ctx)
		if !ok || counted[queued] > 0 || counted[reconciles] < float64(s.users) || counted[statusWrites] != last {
			last, since = counted[statusWrites], time.Now()
			return false, nil
		}
		return time.Since(since) > s.size.calm, nil
	})
}

// scrapes is the interval of scrapes. With each scrape the manager counts all users, which must not affect the
// measurement: with 10,000 users it is scraped ten times a second.
func (s *stage) scrapes() time.Duration {
	return max(2*poll, time.Duration(s.users)*10*time.Microsecond)
}

// stop stops a running manager as a kubelet would.
func (s *stage) stop() error {
	if s.manager == nil {
		return nil
	}
	m := s.manager
	s.manager = nil
	s.profiling.Wait()
	return m.Stop(30 * time.Second) // more than its grace period
}

// close ends everything. It also works for a stage that did not start.
func (s *stage) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var errs []error
	if s.manager != nil {
		s.manager.Kill() // its remaining work does not matter
	}
	s.profiling.Wait()
	if s.raw != nil {
		errs = append(errs, s.raw.close(ctx))
	}
	if s.db != nil {
		errs = append(errs, s.db.Close(ctx))
	}
	if s.postgres != nil {
		errs = append(errs, s.postgres.Stop()) //nolint:contextcheck // it has its own limit
	}
	if s.cluster != nil {
		errs = append(errs, s.cluster.Stop())
	}
	return errors.Join(errs...)
}

// exec runs a statement.
func (s *stage) exec(ctx context.Context, statement string, arguments ...any) error {
	_, err := s.db.Exec(ctx, statement, arguments...)
	return err
}

// reconnect replaces a connection that may be broken.
func (s *stage) reconnect(ctx context.Context) error {
	_ = s.db.Close(ctx) // it may be broken
	db, err := pgx.Connect(ctx, s.administrator())
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	s.db = db
	return nil
}

// administrator returns the DSN of the database with all rights.
func (s *stage) administrator() string {
	config := s.db.Config()
	return (&url.URL{
		Scheme: "postgres", User: url.UserPassword(config.User, config.Password),
		Host: fmt.Sprintf("%s:%d", config.Host, config.Port), Path: "/" + config.Database, RawQuery: "sslmode=disable",
	}).String()
}

// pause waits; it returns the error of the context.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// name returns the name of the n-th user.
func name(n int) string { return fmt.Sprintf("user-%06d", n) }

// names returns the names of the first n users.
func names(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = name(i)
	}
	return all
}

// newPassword returns an unused password.
func newPassword() string { return strings.ToLower(rand.Text()) }
