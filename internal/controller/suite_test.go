// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller"
	"github.com/sharding-system/shardinguser-operator/internal/controller/declared"
	"github.com/sharding-system/shardinguser-operator/internal/controller/orphans"
	"github.com/sharding-system/shardinguser-operator/internal/controller/policies"
	"github.com/sharding-system/shardinguser-operator/internal/controller/rows"
	"github.com/sharding-system/shardinguser-operator/internal/controller/status"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/memory"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// canary is in every password of every story, and in nothing else.
const canary = "c4n4ry"

// TestMain runs the stories, and then reads what they logged: no password and no hash may be in it.
func TestMain(m *testing.M) {
	logged := &lockedBuffer{}
	ctrl.SetLogger(zap.New(zap.WriteTo(logged), zap.UseDevMode(true)))
	code := m.Run()
	if err := testenv.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	for line := range strings.Lines(logged.String()) {
		if strings.Contains(line, canary) || aHashBegins.MatchString(line) {
			fmt.Fprintln(os.Stderr, "a password or a hash was logged:", line)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// aHashBegins is how every bcrypt hash begins, also a disabled one, and every print that stands for one.
var aHashBegins = regexp.MustCompile(`[$!]2[abxy]?\$\d\d\$|[$!]hmac\$`)

type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(v1alpha1.AddToScheme(s))
	return s
}()

// clusterID stands for the UID of kube-system.
const clusterID = "the-cluster"

// A story has a namespace of its own on the real API server and a database of its own on the real Postgres. Both keep
// their contents when the operator between them is stopped, so that another one can be started.
type story struct {
	*gomega.WithT
	t         *testing.T
	kube      client.Client
	db        *pgxpool.Pool
	dsn       string
	namespace string
	store     rows.Store // to read ownership records from; the operator has its own

	// wrap, where it is set, stands between the operator and the store.
	wrap func(rows.Store) rows.Store

	inMemory  bool               // the operator's store is one in memory
	protected []string           // roles that are not taken from the last one who holds them
	standby   bool               // the operator never leads
	reach     func(*rest.Config) // where it is set, changes the operator's way to the API server
	costly    bool               // the operator's hashes cost what they do in production, and not next to nothing
	retry     time.Duration      // of what the database refused; 0 is the usual time

	digestKey string           // the Secret of the story with the key of digests; none without it
	orphans   *orphans.Options // where they are set, the operator searches for orphans
	reads     *searchReads     // where they are set, count what that search reads
	settings  []func(*postgres.Settings)
}

// raced are the stories that a short run tells under the race detector: each part of the operator that goroutines share takes part in
// one of them.
var raced = map[string]bool{
	"TestAThousandUsersThatCanNeverSucceed":                       true, // queue, limiter of statuses, Events
	"TestAnOutagePausesTheWorkOfAThousandUsersAndItsEndResumesIt": true, // breaker, retries
	"TestRestartReadsManyRowsInOneStatement":                      true, // prefetcher, rows
	"TestAFloodOfAFewUsersDelaysNoOther":                          true, // notifications
	"TestOneSecretRotatesAllOfItsUsersAtOnce":                     true, // Secrets, hashes
	"TestAnAccountWithoutAResourceThatNoPolicyPermitsIsSuspended": true, // orphans, leavers, policies
	"TestPolicyIsReadyAndAllOfThemArePublished":                   true, // statuses of policies
	"TestARestartWithoutADatabaseForgetsNothingThatWasReported":   true, // the restore of a store in memory
	"TestDeclaredAccountsFollowResourcesAndSecrets":               true, // the cluster's accounts
	"TestEmptySystemStartsWithThreeUsersOfRandomPasswords":        true, // default users
	"TestDigestKeyIsWrittenOnce":                                  true, // the key of digests
	"TestGeneratedPasswordIsInASecretOfTheUsersOwn":               true, // generated passwords
	"TestUsersThatReturnWithARestoredDatabaseAreReported":         true, // the report on the database
}

func TestStoriesForTheRaceDetectorAreThere(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var sources strings.Builder
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sources.Write(source)
	}
	for name := range raced {
		if !strings.Contains(sources.String(), "func "+name+"(t *testing.T)") {
			t.Errorf("there is no %s any more: name another one in its place", name)
		}
	}
}

// newStory is a story whose operator has not been started yet.
func newStory(t *testing.T) *story {
	t.Helper()
	if raceEnabled && testing.Short() && !raced[t.Name()] {
		t.Skip("without -short the race detector watches this one, too; in a short run, those of raced")
	}
	s := &story{WithT: gomega.NewWithT(t), t: t, dsn: testenv.Database(t)}
	var err error
	s.kube, err = client.New(testenv.APIServer(t), client.Options{Scheme: scheme})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.db, err = pgxpool.New(t.Context(), s.dsn)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	t.Cleanup(s.db.Close)
	s.namespace = s.newNamespace()
	return s
}

// begin is a story whose operator runs until the end of the test.
func begin(t *testing.T) (*story, *operator) {
	t.Helper()
	s := newStory(t)
	return s, s.start()
}

func (s *story) newNamespace() string {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "story-"}}
	s.Expect(s.kube.Create(s.t.Context(), namespace)).To(gomega.Succeed())
	return namespace.Name
}

// An operator is the manager in this process: the real reconciler on the real store.
type operator struct {
	registry *prometheus.Registry
	hasher   *password.Hasher
	writes   *writes
	store    *statements
	declared *declared.ClusterAccounts
	memory   *memory.Store // nil where there is a database
	database *postgres.Store
	health   func() store.Health
	explain  func(ctx context.Context, fields []user.Field) string
	stop     func()
}

// start starts an operator over the story's namespace, and over more of them.
func (s *story) start(more ...string) *operator {
	s.t.Helper()
	op := &operator{registry: prometheus.NewRegistry(), hasher: s.newHasher(), writes: &writes{}}
	batches, watcher, closeStore := s.open(op)
	op.store = &statements{Batches: batches}
	prefetcher := rows.NewPrefetcher(op.store)
	accounts := rows.Store(prefetcher)
	if s.wrap != nil {
		accounts = s.wrap(accounts)
	}

	namespaces := map[string]cache.Config{s.namespace: {}}
	for _, name := range more {
		namespaces[name] = cache.Config{}
	}
	kube := testenv.APIServer(s.t)
	kube.QPS = -1 // as the manager has it
	kube.Wrap(s.ownPolicies)
	if s.reach != nil {
		s.reach(kube)
	}
	mgr, err := ctrl.NewManager(kube, ctrl.Options{
		Scheme:     scheme,
		Cache:      cache.Options{DefaultNamespaces: namespaces},
		Metrics:    metricsserver.Options{BindAddress: "0"},
		NewClient:  op.writes.newClient,
		Controller: config.Controller{SkipNameValidation: new(true)},

		LeaderElection:          s.standby,
		LeaderElectionID:        heldLease,
		LeaderElectionNamespace: s.namespace,
	})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	options := controller.Options{
		Cluster: func(context.Context) (string, error) { return clusterID, nil }, Concurrency: 16, MinPasswordLength: 8, Registry: op.registry,
		Health: op.health, Explain: op.explain, RejectedRetry: s.retry, Prefetcher: prefetcher, ProtectedRoles: s.protected,
	}
	options.Digests = s.digests(mgr.GetAPIReader(), mgr.GetClient())
	options.Statuses, err = status.NewWriter(mgr, op.registry)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	options.Policies, err = policies.New(s.t.Context(), mgr)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.Expect(policies.AddStatuses(mgr, options.Policies, s.namespace)).To(gomega.Succeed())
	op.declared = declared.New(mgr, op.hasher, declared.Options{
		Cluster: options.Cluster, Policies: options.Policies, Statuses: options.Statuses, MinPasswordLength: options.MinPasswordLength,
	})
	if op.memory != nil {
		restore := declared.NewRestore(op.declared, op.memory)
		s.Expect(mgr.Add(restore)).To(gomega.Succeed())
		options.Restored = restore.Wait
	}
	s.Expect(controller.Setup(s.t.Context(), mgr, accounts, watcher, op.hasher, options)).To(gomega.Succeed())
	if s.orphans != nil {
		s.Expect(s.searchForOrphans(mgr, op, batches, watcher, options, append(more, s.namespace))).To(gomega.Succeed())
	}

	ctx, cancel := context.WithCancel(logr.NewContext(context.WithoutCancel(s.t.Context()), ctrl.Log))
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	op.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			s.t.Errorf("the manager ended with %v", err)
		}
		closeStore()
	})
	s.t.Cleanup(op.stop)
	return op
}

func (s *story) newHasher() *password.Hasher {
	if s.costly {
		return password.NewHasher(password.MinCost, 2)
	}
	return password.NewTestHasher(2)
}

// open opens the operator's store.
func (s *story) open(op *operator) (rows.Batches, rows.Watcher, func()) {
	s.t.Helper()
	if s.inMemory {
		op.memory = memory.New(time.Now)
		return op.memory, op.memory, func() {}
	}
	database, closeStore := openStore(s.t, s.dsn, s.settings...)
	op.database, op.health, op.explain = database, database.Health, database.Explain
	return database, database, closeStore
}

// statements counts how often the operator reads from its store.
type statements struct {
	rows.Batches
	snapshots atomic.Int64
}

func (s *statements) Snapshot(ctx context.Context, usernames []string) (map[string]user.Observed, error) {
	s.snapshots.Add(1)
	return s.Batches.Snapshot(ctx, usernames)
}

// reads is how often the operator read from its store.
func (o *operator) reads() int { return int(o.store.snapshots.Load()) }

// writes notes when the operator wrote a status.
type writes struct {
	mu     sync.Mutex
	times  []time.Time
	before func() // where it is set, comes before the next write, once
}

// newClient is the manager's ordinary client, which is watched in this.
func (w *writes) newClient(config *rest.Config, options client.Options) (client.Client, error) {
	ordinary, err := client.NewWithWatch(config, options)
	if err != nil {
		return nil, err
	}
	return interceptor.NewClient(ordinary, interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			w.mu.Lock()
			w.times = append(w.times, time.Now())
			before := w.before
			w.before = nil
			w.mu.Unlock()
			if before != nil {
				before()
			}
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		},
	}), nil
}

func (w *writes) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.times)
}

// most is the largest number of writes in any stretch of that length, those before the skipped ones left out.
func (w *writes) most(within time.Duration, skip int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	times, most := w.times[skip:], 0
	for first, last := 0, 0; last < len(times); last++ {
		for times[last].Sub(times[first]) >= within {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

// counts waits until the operator counts so many users in a state: its cache learns of a status after the API server has it.
func (s *story) counts(op *operator, state string, users int) {
	s.t.Helper()
	s.Eventually(func() float64 { return op.metric(s.t, "shardinguser_users", state) }).WithTimeout(soon).WithPolling(poll).
		Should(gomega.BeEquivalentTo(users))
}

// metric is a figure of this operator's own metrics.
func (o *operator) metric(t testing.TB, name string, labelValue ...string) float64 {
	t.Helper()
	return metric(t, o.registry, name, labelValue...)
}

// metric is the sum over a family's metrics that have this label value; without one, over all of them.
func metric(t testing.TB, registry prometheus.Gatherer, name string, labelValue ...string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if len(labelValue) > 0 && m.GetLabel()[0].GetValue() != labelValue[0] {
				continue
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}
