// SPDX-License-Identifier: Apache-2.0

// Command manager is the operator. It builds the parts in the order of their dependencies, and stops them in the reverse
// order.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/audit"
	"github.com/sharding-system/shardinguser-operator/internal/config"
	"github.com/sharding-system/shardinguser-operator/internal/controller"
	controllercache "github.com/sharding-system/shardinguser-operator/internal/controller/cache"
	"github.com/sharding-system/shardinguser-operator/internal/controller/rows"
	"github.com/sharding-system/shardinguser-operator/internal/controller/status"
	"github.com/sharding-system/shardinguser-operator/internal/controller/systems"
	"github.com/sharding-system/shardinguser-operator/internal/tracing"
)

// version is set by the linker.
var version = "development"

func main() {
	err := run(ctrl.SetupSignalHandler(), os.Args[1:])
	if err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "manager: %v\n", err)
		os.Exit(1)
	}
}

// run runs the operator with these arguments until ctx ends.
func run(ctx context.Context, args []string) error {
	if slices.Contains(args, "--version") {
		fmt.Fprintln(os.Stdout, version)
		return nil
	}
	logging := zap.Options{StacktraceLevel: zapcore.PanicLevel} // errors that are retried need no stack
	var verbosity flag.Value
	settings, err := config.Load(args, os.Stderr, func(flags *flag.FlagSet) {
		addOtherFlags(flags, &logging)
		verbosity = flags.Lookup("zap-log-level").Value
	})
	if err != nil {
		return err
	}
	if err := limitVerbosity(verbosity); err != nil {
		return err
	}
	log := zap.New(zap.UseFlagOptions(&logging))
	ctrl.SetLogger(log)
	log.Info("Starting", "version", version, "system", settings.System)
	for _, warning := range settings.Warnings {
		slog.New(logr.ToSlogHandler(log)).Warn("A setting has no effect", "reason", warning)
	}
	if settings.Tracing {
		stop, err := tracing.Start(ctx, version, replica(settings).Name, slog.New(logr.ToSlogHandler(log.WithName("tracing"))))
		if err != nil {
			return err
		}
		defer stop()
	}

	// Opening does not wait, so there is nothing to cancel.
	accounts, err := openStore(settings, registry(settings), log) //nolint:contextcheck // see above
	if err != nil {
		return err
	}
	defer accounts.close()

	mgr, err := newManager(ctx, accounts.trail(), settings, log)
	if err != nil {
		return err
	}
	cluster := newCluster(mgr.GetAPIReader(), settings, log)
	keepSmall()
	spareThreads(settings.HashCores)
	hasher := newHasher(settings, log)
	options, clusterAccounts, err := newOptions(ctx, mgr, cluster, hasher, settings)
	if err != nil {
		return err
	}
	if options.Restored, err = accounts.restore(mgr, clusterAccounts); err != nil {
		return err
	}
	announce := status.Announcer(mgr, replica(settings))
	logins, err := newLogins(accounts, clusterAccounts, announce, hasher, settings, registry(settings), log)
	if err != nil {
		return err
	}
	reconciled := logins.reconciled(accounts)
	options.Health, options.Explain = reconciled.Health, accounts.explain()
	options.Prefetcher = rows.NewPrefetcher(reconciled)
	if err := controller.Setup(ctx, mgr, options.Prefetcher, reconciled, hasher, options); err != nil {
		return err
	}
	if err := addOrphans(mgr, accounts, reconciled, settings, options); err != nil {
		return err
	}
	if err := addSignOfLife(mgr, accounts, cluster, settings, log); err != nil {
		return err
	}
	if err := systems.Add(mgr, systems.Options{
		System: settings.System, WatchNamespaces: settings.WatchNamespaces, Registry: options.Registry,
	}); err != nil {
		return err
	}
	if err := addDefaultUsers(mgr, accounts, settings, log); err != nil {
		return err
	}
	probes, err := newProbes(ctx, mgr, settings, log.WithName("probes"))
	if err != nil {
		return err
	}
	ready := logins.readyToServe(mgr.Elected(), options.Restored)
	serveLogins := func(ctx context.Context) error { return logins.run(ctx, ready) }
	if err := start(ctx, mgr, probes, serveLogins, cluster.find); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	log.Info("Stopped")
	return nil
}

// addOtherFlags adds the flags of controller-runtime.
func addOtherFlags(flags *flag.FlagSet, logging *zap.Options) {
	logging.BindFlags(flags)
	ctrlconfig.RegisterFlags(flags)
}

// part runs until ctx ends.
type part func(ctx context.Context) error

// start runs the manager and the parts that do not need it until ctx ends or one of them fails. The probes are answered until
// all others have ended.
func start(ctx context.Context, mgr ctrl.Manager, probes *probes, parts ...part) error {
	parts = append(parts, func(ctx context.Context) error { return manage(ctx, mgr, probes.synced) })
	group, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, probes.stop)()
	probing, end := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return probes.run(probing) })
	var others sync.WaitGroup
	for _, run := range parts {
		others.Add(1)
		group.Go(func() error {
			defer others.Done()
			return run(ctx)
		})
	}
	others.Wait()
	end()
	return group.Wait()
}

// manage runs the manager until ctx ends. The manager ignores ctx while it waits for its caches (without permissions, for
// example), so manage returns without it then: it has started nothing yet that has to stop.
func manage(ctx context.Context, mgr ctrl.Manager, synced <-chan struct{}) error {
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case <-synced:
		return <-ended
	default:
		return nil
	}
}

// registry returns the registry of our metrics. Those of a named system have it as the label system. Those of the default system
// do not, which is the same to Prometheus as an empty label.
func registry(settings config.Settings) prometheus.Registerer {
	if settings.System == "" {
		return ctrlmetrics.Registry
	}
	return prometheus.WrapRegistererWith(prometheus.Labels{"system": settings.System}, ctrlmetrics.Registry)
}

// replica returns the pod of this process, which the manifests pass in environment variables.
func replica(settings config.Settings) status.Replica {
	r := status.Replica{Namespace: settings.Namespace, Name: os.Getenv("POD_NAME"), UID: os.Getenv("POD_UID")}
	if r.Name == "" {
		host, _ := os.Hostname()
		r.Name = strings.ToLower(host)
	}
	return r
}

// newManager returns a manager of controller-runtime with our settings.
func newManager(ctx context.Context, trail audit.Source, settings config.Settings, log logr.Logger) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))

	cluster, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("cannot find a cluster: %w; set --kubeconfig or KUBECONFIG, or run in a cluster", err)
	}
	cluster.QPS, cluster.Burst = settings.KubeAPIQPS, settings.KubeAPIBurst
	if cluster.QPS == 0 {
		cluster.QPS = -1 // means no limit to client-go
	}

	// client-go's own limit of 30 s would delay the next try where the network drops packets.
	cluster.Dial = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	if settings.Tracing {
		cluster.Wrap(tracing.Transport)
	}
	mgr, err := ctrl.NewManager(cluster, ctrl.Options{
		Scheme:                  scheme,
		Logger:                  withEndingNamespaces(log),
		Cache:                   controllercache.Options(settings.System, settings.WatchNamespaces),
		Metrics:                 metricsserver.Options{BindAddress: notServed}, // see addMetrics
		HealthProbeBindAddress:  notServed,                                     // see newProbes
		MapperProvider:          controllercache.Mapper,
		PprofBindAddress:        settings.PprofBindAddress,
		LeaderElection:          settings.LeaderElect,
		LeaderElectionID:        config.LeaseOf(settings.System),
		LeaderElectionNamespace: settings.LeaderElectionNamespace,
		// The process ends with the manager, so the lease can be released at once.
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &settings.GracefulShutdownTimeout,
	})
	if err != nil {
		hint := ""
		if settings.LeaderElect && settings.LeaderElectionNamespace == "" {
			hint = "; outside a cluster --leader-elect needs --leader-election-namespace"
		}
		return nil, fmt.Errorf("build the manager: %w%s", err, hint)
	}
	return mgr, addMetrics(ctx, mgr, trail, settings, log.WithName("metrics"))
}
