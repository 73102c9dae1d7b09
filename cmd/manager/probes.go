// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sharding-system/shardinguser-operator/internal/config"
)

// probes answers the kubelet. The process is live if it answers, and ready from when its caches are filled until it stops.
// Metrics and statuses report an unavailable database, since neither a restart nor removing the pod from the Service would fix
// it.
type probes struct {
	run    part            // serves
	synced <-chan struct{} // closed when the caches are filled

	stopping atomic.Bool
}

// everyReplica is a part of the manager that runs whether or not the replica leads.
type everyReplica func(context.Context) error

// Start implements manager.Runnable.
func (f everyReplica) Start(ctx context.Context) error { return f(ctx) }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (everyReplica) NeedLeaderElection() bool { return false }

// newProbes returns the probes of the manager, which listen at once.
func newProbes(ctx context.Context, mgr ctrl.Manager, settings config.Settings, log logr.Logger) (*probes, error) {
	filled := make(chan struct{})
	err := mgr.Add(everyReplica(func(ctx context.Context) error {
		if mgr.GetCache().WaitForCacheSync(ctx) {
			close(filled)
		}
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("add the wait for the caches: %w", err)
	}
	p := &probes{synced: filled}
	if settings.HealthProbeBindAddress == notServed {
		p.run = func(context.Context) error { return nil }
		return p, nil
	}
	sink := slog.New(logr.ToSlogHandler(log))
	mux := http.NewServeMux()
	healthy := func() error { return nil } // a response is all that the liveness needs
	mux.Handle("/healthz", probe("healthz", sink, healthy))
	mux.Handle("/readyz", probe("readyz", sink, p.ready))
	server, err := newServer(ctx, "probes", settings.HealthProbeBindAddress, mux, nil, settings, log)
	if err != nil {
		return nil, err
	}
	p.run = server.Start
	return p, nil
}

// stop makes the process not ready from now on.
func (p *probes) stop() { p.stopping.Store(true) }

// ready returns why the replica is not ready.
func (p *probes) ready() error {
	if p.stopping.Load() {
		return errors.New("the process is stopping")
	}
	select {
	case <-p.synced:
		return nil
	default:
		return errors.New("the caches are not filled yet: the API server is unreachable, slow, or denies a list; see the log")
	}
}

// probe answers a probe by the check, and logs the first failure, with its reason, and the first success after that. The
// handler of controller-runtime hides the reason and logs each failure.
func probe(name string, log *slog.Logger, check func() error) http.Handler {
	var mu sync.Mutex
	failed := ""
	note := func(reason string) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case reason == failed:
			return
		case reason != "":
			log.Warn("The probe fails", "probe", name, "reason", reason)
		default:
			log.Info("The probe succeeds again", "probe", name)
		}
		failed = reason
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		err := check()
		if err == nil {
			note("")
			fmt.Fprintln(w, "ok")
			return
		}
		note(err.Error())
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintln(w, err.Error())
	})
}
