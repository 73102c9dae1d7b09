// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// The managers' settings, and what follows from them. Locks are short, so that a run has many.
const (
	lockoutAttempts  = 5
	fallbackAttempts = 2 // as docs/login.md has it for two replicas
	lockoutDuration  = 15 * time.Second
	poolSize         = 10
	listeners        = 2 // that each replica adds to its pool at most; see docs/database.md
	bcryptCost       = 10
)

// patience is the longest time for anything that has to happen, on a busy machine.
const patience = 60 * time.Second

// A stage is the servers, the two replicas, and the actors.
type stage struct {
	set    settings
	story  *story
	say    func(format string, arguments ...any)
	ledger *ledger

	cluster  *testenv.ControlPlane
	api      client.Client // an administrator's
	postgres *testenv.Postgres
	link     *testenv.Link // through which the managers connect
	db       *pgxpool.Pool // an administrator's, and not through the link
	database string
	role     string // the managers' in the database

	namespace string
	rights    *rest.Config // the managers'
	dsn       string       // the managers'
	token     string       // of an account that may read the metrics
	pace      time.Duration

	replicas  []*replica
	processes atomic.Int64 // that were started
	people    []*person
	victims   []*person // attacked all the time
	probe     *person   // changed only by recovery

	calm        sync.RWMutex              // actors hold it for reading, a quiet point for writing
	leaseAtRisk atomic.Bool               // the last fault may cost a leader its lease
	slowAPI     atomic.Pointer[time.Time] // when the API server last responded late
	lastQuiet   time.Time
	broken      chan error // what ends the run
}

// newStage starts the servers and the replicas.
func newStage(ctx context.Context, set settings, st *story) (_ *stage, err error) {
	s := &stage{
		set: set, story: st, say: st.say, broken: make(chan error, 1),
		ledger: newLedger(rules{
			attempts: lockoutAttempts, alone: fallbackAttempts, lock: lockoutDuration, known: 5 * time.Second, settling: 25 * time.Second,
		}),
	}
	defer func() { //nolint:contextcheck // the end has its own limit
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	var group errgroup.Group
	group.Go(func() (err error) {
		s.cluster, err = testenv.StartControlPlane(ctx)
		return err
	})
	group.Go(func() (err error) {
		// Committed transactions survive a crash.
		s.postgres, err = testenv.StartPostgres(ctx, "synchronous_commit=on")
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := s.openDatabase(ctx); err != nil {
		return nil, err
	}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	if err := s.giveRights(ctx); err != nil {
		return nil, err
	}
	if s.pace, err = paceOf(); err != nil {
		return nil, err
	}
	for _, name := range []string{"a", "b"} {
		r := &replica{s: s, name: name, ended: map[*testenv.Manager]bool{}}
		s.replicas = append(s.replicas, r)
		if err := r.start(); err != nil {
			return nil, err
		}
	}
	for _, r := range s.replicas {
		if err := r.now().Ready(ctx); err != nil {
			return nil, err
		}
	}
	// A ready manager may still be creating its tables.
	return s, within(ctx, "there are no tables", patience, 200*time.Millisecond, s.keepRecord)
}

// paceOf returns how long a client waits between two logins, so that all of them use about a third of two cores: a
// multiple of the current time of a comparison on this machine.
func paceOf() (time.Duration, error) {
	begun := time.Now()
	if _, err := bcrypt.GenerateFromPassword([]byte("pace"), bcryptCost); err != nil {
		return 0, fmt.Errorf("hash: %w", err)
	}
	return max(500*time.Millisecond, min(3*time.Second, 16*time.Since(begun))), nil
}

// openDatabase creates a database, a role for the managers that may create tables, and the link of their connections.
func (s *stage) openDatabase(ctx context.Context) error {
	admin, err := s.postgres.NewDatabase(ctx)
	if err != nil {
		return err
	}
	config, err := pgxpool.ParseConfig(admin)
	if err != nil {
		return fmt.Errorf("read the administrator's DSN: %w", err)
	}
	s.database = config.ConnConfig.Database
	params := config.ConnConfig.RuntimeParams
	params["timezone"], params["application_name"], params["default_transaction_read_only"] = "UTC", ourName, "off"
	config.ConnConfig.ConnectTimeout = 5 * time.Second
	if s.db, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	role, err := s.postgres.NewRole(ctx, admin)
	if err != nil {
		return err
	}
	managers, err := pgx.ParseConfig(role)
	if err != nil {
		return fmt.Errorf("read the managers' DSN: %w", err)
	}
	s.role = managers.User
	s.story.secrets = append(s.story.secrets, managers.Password)
	if err := s.exec(ctx, "GRANT CREATE ON SCHEMA public TO "+s.role); err != nil {
		return err
	}
	s.link, s.dsn, err = testenv.DatabaseLink(role) //nolint:contextcheck // the link outlives the context
	return err
}

// connect creates the administrator's client and the namespace of the users.
func (s *stage) connect(ctx context.Context) (err error) {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	config := s.cluster.Config()
	config.Timeout = 10 * time.Second
	if s.api, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "soak-"}}
	if err := s.api.Create(ctx, namespace); err != nil {
		return fmt.Errorf("create a namespace: %w", err)
	}
	s.namespace = namespace.Name
	return nil
}

func (s *stage) giveRights(ctx context.Context) (err error) {
	if s.rights, err = s.cluster.Install(ctx); err != nil {
		return err
	}
	s.token, err = s.cluster.Scraper(ctx)
	return err
}

// close ends everything. It also works for a stage that did not start.
func (s *stage) close() error {
	var errs []error
	for _, r := range s.replicas {
		r.kill() // its remaining work does not matter
	}
	if s.db != nil {
		s.db.Close()
	}
	if s.link != nil {
		errs = append(errs, s.link.Close())
	}
	if s.postgres != nil {
		errs = append(errs, s.postgres.Stop())
	}
	if s.cluster != nil {
		errs = append(errs, s.cluster.Stop())
	}
	return errors.Join(errs...)
}

// exec runs a statement.
func (s *stage) exec(ctx context.Context, statement string, arguments ...any) error {
	if _, err := s.db.Exec(ctx, statement, arguments...); err != nil {
		return fmt.Errorf("run a statement: %w", err)
	}
	return nil
}

// endSessions ends the managers' sessions for which the condition holds.
func (s *stage) endSessions(ctx context.Context, condition string) error {
	return s.exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND "+condition, s.role)
}

func (s *stage) haltPostgres(ctx context.Context) error  { return s.postgres.Halt(ctx) }
func (s *stage) crashPostgres(ctx context.Context) error { return s.postgres.Crash(ctx) }
func (s *stage) killPostgres(ctx context.Context) error  { return s.postgres.Kill(ctx) }

// startPostgres starts the server again. After a kill, its children can hold its resources for a moment longer.
func (s *stage) startPostgres(ctx context.Context) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		last = s.postgres.Start(ctx)
		return last == nil, nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	s.db.Reset()
	return nil
}

// within waits until the condition holds: its error says why it does not hold yet.
func within(ctx context.Context, what string, limit, every time.Duration, holds func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, every, limit, true, func(ctx context.Context) (bool, error) {
		err := holds(ctx)
		if err != nil && ctx.Err() == nil {
			last = err
		}
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, errors.Join(err, last))
	}
	return nil
}
