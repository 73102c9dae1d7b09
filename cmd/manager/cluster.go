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

	"github.com/sharding-system/shardinguser-operator/internal/controller/policies"
)

// cluster finds out which cluster this is: the UID of the namespace kube-system stands for it. And it finds out whether
// policies can be read, where they are to be. It does so beside the rest, so that a manager whose API server is away is alive
// and waits; and beside the manager's caches, which would wait for ever for what they may not read.
type cluster struct {
	reader   client.Reader
	policies bool // are to be read
	log      logr.Logger

	known chan struct{} // closed once uid is set
	uid   string
}

func newCluster(reader client.Reader, policies bool, log logr.Logger) *cluster {
	return &cluster{reader: reader, policies: policies, log: log, known: make(chan struct{})}
}

// refusals is how many in a row, a second apart, are an answer. An API server that has just started refuses what it will
// allow once it has read its roles; to end because of that would be to end whenever it was away.
const refusals = 10

// find asks the API server until it answers. A refusal that stays is an error.
func (c *cluster) find(ctx context.Context) error {
	var namespace corev1.Namespace
	told, refused := false, 0
	err := wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		err := c.ask(ctx, &namespace)
		switch {
		case err == nil:
			return true, nil
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err), apierrors.IsNotFound(err):
			if refused++; refused == refusals {
				return false, err
			}
		default:
			refused = 0
		}
		if !told {
			c.log.Info("Waiting for the API server", "error", err.Error())
			told = true
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
	if c.policies {
		return policies.Check(ctx, c.reader)
	}
	return nil
}

// UID waits until it is known. The only error is the context's.
func (c *cluster) UID(ctx context.Context) (string, error) {
	select {
	case <-c.known:
		return c.uid, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
