// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const (
	// canary is only in passwords.
	canary = "c4n4ry"

	// right is the password of alice, the user of the requests.
	right = canary + " of alice"

	// aHash is a hash of an unknown password.
	aHash = "$2b$10$" + "abcdefghijklmnopqrstuu" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ01234"

	signingSecret = "the signing secret of the corpus, " + canary

	soon = time.Minute
	poll = 500 * time.Millisecond // each poll reads all users
)

// Shared by all cases: one API server, one database, and one manager between them.
var (
	plane   *testenv.ControlPlane
	kube    client.Client // an administrator's
	direct  *http.Client  // the same, for malformed requests
	db      *pgxpool.Pool
	manager *testenv.Manager
	scraper string // a token for the metrics
)

func TestMain(m *testing.M) { testenv.MainAround(m, run) }

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "shardinguser-corpus-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if plane, err = testenv.StartControlPlane(ctx); err != nil {
		return 1, err
	}
	server, err := testenv.StartPostgres(ctx)
	if err != nil {
		return 1, errors.Join(err, plane.Stop())
	}
	defer func() { err = errors.Join(err, plane.Stop(), server.Stop()) }()
	rights, err := plane.Install(ctx)
	if err != nil {
		return 1, err
	}
	if err := connect(ctx); err != nil {
		return 1, err
	}
	dsn, err := server.NewDatabase(ctx)
	if err != nil {
		return 1, err
	}
	if db, err = pgxpool.New(ctx, dsn); err != nil {
		return 1, err
	}
	defer db.Close()
	program, err := testenv.BuildManager(ctx, folder)
	if err != nil {
		return 1, err
	}
	if err := begin(ctx, program, dsn, rights); err != nil {
		return 1, err
	}
	code = m.Run()
	return code, errors.Join(manager.Stop(25*time.Second), checkLog())
}

// connect creates the clients.
func connect(ctx context.Context) (err error) {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	if kube, err = client.New(plane.Config(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if direct, err = rest.HTTPClientFor(plane.Config()); err != nil {
		return err
	}
	scraper, err = plane.Scraper(ctx)
	return err
}

// begin starts the manager without what could prevent an outcome: locks, the rate limit of one address, and the
// recognition of earlier credentials.
func begin(ctx context.Context, program, dsn string, rights *rest.Config) error {
	var err error
	manager, err = plane.StartManager(testenv.ManagerOptions{
		Program: program, Rights: rights, DSN: dsn, Secret: signingSecret,
		Args: []string{
			"--leader-election-namespace=" + testenv.SystemNamespace, "--lockout-attempts=1000", "--login-source-rate=0", "--verify-cache-ttl=0",
		},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	return manager.Ready(ctx)
}

// aHashIsIn reports whether a text contains the beginning of any bcrypt hash or stand-in hash.
var aHashIsIn = regexp.MustCompile(`[$!]2[abxy]?\$\d\d\$|[$!]hmac\$`).MatchString

// checkLog returns what no case may write into the manager's log.
func checkLog() error {
	content, err := os.ReadFile(manager.Log)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(content)) {
		switch {
		case strings.Contains(line, canary) || aHashIsIn(line):
			return errors.New("the manager logged a password or a hash")
		case strings.Contains(line, "panic:") || strings.Contains(line, "bserved a panic") || strings.Contains(line, "from a panic"):
			return fmt.Errorf("the manager logged a panic: %s", line)
		}
	}
	return nil
}
