// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// User returns the configuration to connect as a user of these groups. RBAC decides the user's rights.
func (c *ControlPlane) User(name string, groups ...string) (*rest.Config, error) {
	user, err := c.plane.AddUser(envtest.User{Name: name, Groups: groups}, nil)
	if err != nil {
		return nil, fmt.Errorf("add the user %s: %w", name, err)
	}
	return user.Config(), nil
}

// ServiceAccount returns the configuration to connect as a ServiceAccount, with a token of the TokenRequest API, as a pod
// has it, that is valid for a day. It creates the ServiceAccount and its namespace if they are missing, but no rights.
func (c *ControlPlane) ServiceAccount(ctx context.Context, namespace, name string) (*rest.Config, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, account,
	} {
		if err := client.IgnoreAlreadyExists(c.client.Create(ctx, object)); err != nil {
			return nil, fmt.Errorf("create the ServiceAccount %s/%s: %w", namespace, name, err)
		}
	}
	request := &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](24 * 60 * 60)},
	}
	if err := c.client.SubResource("token").Create(ctx, account, request); err != nil {
		return nil, fmt.Errorf("request a token of the ServiceAccount %s/%s: %w", namespace, name, err)
	}
	config := rest.AnonymousClientConfig(c.config)
	config.QPS, config.Burst = 0, 0 // the caller sets its own limits
	config.BearerToken = request.Status.Token
	return config, nil
}

// KubeconfigFor writes a kubeconfig that connects as config does, and returns its path. The file is deleted with the
// control plane.
func (c *ControlPlane) KubeconfigFor(config *rest.Config) (string, error) {
	const name = "testenv"
	content, err := clientcmd.Write(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{
			name: {Server: config.Host, CertificateAuthorityData: config.CAData},
		},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{
			name: {ClientCertificateData: config.CertData, ClientKeyData: config.KeyData, Token: config.BearerToken},
		},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	})
	if err != nil {
		return "", fmt.Errorf("write a kubeconfig: %w", err)
	}
	return c.scope.write("kubeconfig-"+rand.String(8), string(content), 0o600)
}

// KubectlPath returns the path of the kubectl of the control plane's version.
func (c *ControlPlane) KubectlPath() string { return c.kubectl }

// Kubectl runs kubectl as an administrator and returns its standard output. The standard error is part of the error.
// To run it as another user, pass --kubeconfig with a path of KubeconfigFor.
func (c *ControlPlane) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.runKubectl(ctx, "", args...)
}

// Apply runs kubectl apply for these manifests, with optional further arguments.
func (c *ControlPlane) Apply(ctx context.Context, manifests string, args ...string) (string, error) {
	return c.runKubectl(ctx, manifests, append([]string{"apply", "--filename=-"}, args...)...)
}

// uncollected turns garbage collection off in short-lived Go programs: it takes a quarter of their time.
const uncollected = "GOGC=off"

func (c *ControlPlane) runKubectl(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.kubectl, args...)
	cmd.Env = append(cmd.Environ(), "KUBECONFIG="+c.kubeconfig, "KUBECACHEDIR="+c.scope.path("cache"), uncollected)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err,
			strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
