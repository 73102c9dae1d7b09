// SPDX-License-Identifier: Apache-2.0

// Command manager keeps the accounts of a sharding system as Kubernetes resources. This package only wires: it builds
// the parts in the order in which they need each other, and stops them in the opposite one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/config"
	"github.com/sharding-system/shardinguser-operator/internal/controller"
	"github.com/sharding-system/shardinguser-operator/internal/password"
)

// version is set by the linker.
var version = "development"

// leaderElectionID names the lease that the leader holds.
const leaderElectionID = "shardinguser-operator.sharding.io"

func main() {
	err := run(ctrl.SetupSignalHandler(), os.Args[1:])
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "manager: %v\n", err)
		os.Exit(1)
	}
}

// run is the program, from its settings to its end.
func run(ctx context.Context, args []string) error {
	logging := zap.Options{}
	settings, err := config.Load(args, os.Stderr, func(flags *flag.FlagSet) {
		logging.BindFlags(flags)
		ctrlconfig.RegisterFlags(flags)
	})
	if err != nil {
		return err
	}
	log := zap.New(zap.UseFlagOptions(&logging))
	ctrl.SetLogger(log)
	log.Info("Starting", "version", version, "database", settings.Database.DSN.String())

	// Opening waits for nothing: there is nothing to cancel.
	accounts, err := openStore(settings, ctrlmetrics.Registry, log) //nolint:contextcheck // see above
	if err != nil {
		return err
	}
	defer accounts.close()

	mgr, err := newManager(settings)
	if err != nil {
		return err
	}
	if accounts.maintain != nil {
		if err := mgr.Add(accounts.maintain); err != nil {
			return fmt.Errorf("add the upkeep of the database: %w", err)
		}
	}
	cluster, err := clusterUID(ctx, mgr.GetAPIReader(), log)
	if err != nil {
		return err
	}
	hasher := password.NewHasher(settings.BcryptCost, settings.HashCores)
	err = controller.Setup(ctx, mgr, accounts, accounts, hasher, controller.Options{
		Cluster:           cluster,
		Concurrency:       settings.MaxConcurrentReconciles,
		MinPasswordLength: settings.PasswordMinLength,
		Registry:          ctrlmetrics.Registry,
	})
	if err != nil {
		return err
	}
	if err := addLogin(mgr, accounts, hasher, settings, ctrlmetrics.Registry, log); err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	log.Info("Stopped")
	return nil
}

// newManager is controller-runtime's manager by our settings.
func newManager(settings config.Settings) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))

	cluster, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("no cluster to work with: %w; give --kubeconfig or KUBECONFIG, or run in a cluster", err)
	}
	cluster.QPS, cluster.Burst = settings.KubeAPIQPS, settings.KubeAPIBurst

	namespaces := map[string]cache.Config{}
	for _, name := range settings.WatchNamespaces {
		namespaces[name] = cache.Config{}
	}
	mgr, err := ctrl.NewManager(cluster, ctrl.Options{
		Scheme: scheme,
		Cache: cache.Options{
			DefaultNamespaces: namespaces,
			// Nobody here reads managedFields, and they are the larger part of what would be kept in memory.
			DefaultTransform: cache.TransformStripManagedFields(),
		},
		Metrics: metricsserver.Options{
			BindAddress:    settings.MetricsBindAddress,
			SecureServing:  true,
			CertDir:        settings.MetricsCertDir,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
		},
		HealthProbeBindAddress:  settings.HealthProbeBindAddress,
		LeaderElection:          settings.LeaderElect,
		LeaderElectionID:        leaderElectionID,
		LeaderElectionNamespace: settings.LeaderElectionNamespace,
		// The process ends when the manager does, so the lease can be handed on at once.
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &settings.GracefulShutdownTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("build the manager: %w", err)
	}
	return mgr, addProbes(mgr)
}

// addProbes says what the probes mean. Alive is who answers. Ready is whose caches are filled; a database that is away
// shows in metrics and statuses, since neither a restart nor taking the pod out of service would bring it back.
func addProbes(mgr ctrl.Manager) error {
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("add the liveness probe: %w", err)
	}
	synced := make(chan struct{})
	err := mgr.Add(everyReplica(func(ctx context.Context) error {
		if mgr.GetCache().WaitForCacheSync(ctx) {
			close(synced)
		}
		return nil
	}))
	if err != nil {
		return fmt.Errorf("add the wait for the caches: %w", err)
	}
	if err := mgr.AddReadyzCheck("caches", readyWhen(synced)); err != nil {
		return fmt.Errorf("add the readiness probe: %w", err)
	}
	return nil
}

// clusterUID is the UID of the namespace kube-system, which stands for the cluster. An API server that is not there
// yet is waited for.
func clusterUID(ctx context.Context, reader client.Reader, log logr.Logger) (string, error) {
	var namespace corev1.Namespace
	told := false
	err := wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		err := reader.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &namespace)
		switch {
		case err == nil:
			return true, nil
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err), apierrors.IsNotFound(err):
			return false, err
		case !told:
			log.Info("Waiting for the API server", "error", err.Error())
			told = true
		}
		return false, nil
	})
	if err != nil {
		return "", fmt.Errorf("read the namespace %s, whose UID stands for the cluster: %w; config/rbac has the rule that allows it",
			metav1.NamespaceSystem, err)
	}
	return string(namespace.UID), nil
}
