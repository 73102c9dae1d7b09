// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/internal/config"
	"github.com/sharding-system/shardinguser-operator/internal/controller/cache"
	"github.com/sharding-system/shardinguser-operator/internal/controller/policies"
)

// cluster identifies the cluster by the UID of the namespace kube-system, and checks that the policies can be read if they are
// enabled. It runs concurrently with the other parts, so that the manager stays alive while the API server is unavailable. It
// does not use the manager's caches, which wait forever for resources that they may not read.
type cluster struct {
	reader   client.Reader
	settings config.Settings
	log      logr.Logger

	known chan struct{} // closed once uid is set
	uid   string
}

func newCluster(reader client.Reader, settings config.Settings, log logr.Logger) *cluster {
	return &cluster{reader: reader, settings: settings, log: log, known: make(chan struct{})}
}

// refusals is the number of consecutive refusals, a second apart, that are an error. An API server that has just started
// refuses requests until it has read its roles.
const refusals = 10

// find asks the API server until it answers. It returns an error if the API server keeps refusing.
func (c *cluster) find(ctx context.Context) error {
	var namespace corev1.Namespace
	logged, refused := false, 0
	err := wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		err := c.ask(ctx, &namespace)
		switch {
		case err == nil:
			return true, nil
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err), apierrors.IsNotFound(err), apierrors.IsBadRequest(err):
			if refused++; refused == refusals {
				return false, err
			}
		default:
			refused = 0
		}
		if !logged {
			c.log.Info("Waiting for the API server", "error", err.Error())
			logged = true
		}
		return false, nil
	})
	switch {
	case ctx.Err() != nil:
		return nil //nolint:nilerr // the manager ends
	case err != nil:
		return err
	}
	c.uid = string(namespace.UID)
	close(c.known)
	return nil
}

// ask asks the API server once.
func (c *cluster) ask(ctx context.Context, namespace *corev1.Namespace) error {
	if err := c.reader.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, namespace); err != nil {
		return fmt.Errorf("read the namespace %s, whose UID identifies the cluster: %w; apply config/rbac, which allows it",
			metav1.NamespaceSystem, err)
	}
	if c.settings.Policies {
		if err := policies.Check(ctx, c.reader); err != nil {
			return err
		}
	}
	return cache.CheckSystem(ctx, c.reader, c.settings.System, c.settings.WatchNamespaces)
}

// UID waits for the UID of the cluster and returns it. Its only error is that of the context.
func (c *cluster) UID(ctx context.Context) (string, error) {
	select {
	case <-c.known:
		return c.uid, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
