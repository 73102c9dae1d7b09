// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"fmt"
	"path/filepath"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The namespace and the ServiceAccount of the operator in config/default.
const (
	SystemNamespace = "shardinguser-system"
	ManagerAccount  = "shardinguser-controller-manager"
)

// Install applies config/default, and returns the configuration with which the manager connects. No pod is started: there
// is no kubelet.
func (c *ControlPlane) Install(ctx context.Context) (manager *rest.Config, err error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"apply", "--server-side", "--force-conflicts", "-k", filepath.Join(root, "config", "default")},
		{"wait", "--for=condition=Established", "--timeout=60s", "crd/shardingusers.sharding.io", "crd/shardinguserpolicies.sharding.io"},
	} {
		if _, err := c.Kubectl(ctx, args...); err != nil {
			return nil, fmt.Errorf("install the operator: %w", err)
		}
	}
	return c.ServiceAccount(ctx, SystemNamespace, ManagerAccount)
}

// Scraper returns the token of a ServiceAccount that may read the operator's metrics after Install.
func (c *ControlPlane) Scraper(ctx context.Context) (token string, err error) {
	const namespace, name = "monitoring", "prometheus"
	account, err := c.ServiceAccount(ctx, namespace, name)
	if err != nil {
		return "", err
	}
	return account.BearerToken, client.IgnoreAlreadyExists(c.client.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "shardinguser-metrics"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "shardinguser-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: name}},
	}))
}
