// SPDX-License-Identifier: Apache-2.0

//go:build node

package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const (
	system     = testenv.SystemNamespace
	manager    = testenv.ManagerAccount // also the name of the Deployment
	release    = "shardinguser"
	repository = "ghcr.io/sharding-system/shardinguser-operator"

	// The versions of the image that `make test-node` builds. Both have the same sources.
	before, after = "v0.0.1", "v0.0.2"

	soon = time.Minute
	poll = 100 * time.Millisecond
)

// Shared by all tests.
var (
	root       string // of the repository
	folder     string // of the node
	kubeconfig string
	kube       client.Client // an administrator's
)

func TestMain(m *testing.M) { testenv.MainAround(m, run) }

func run(m *testing.M) (code int, err error) {
	if root, err = testenv.Root(); err != nil {
		return 1, err
	}
	if folder = os.Getenv("FOLDER"); folder == "" {
		return 1, errors.New("no node: run `make test-node`")
	}
	kubeconfig = filepath.Join(folder, "state", "pki", "admin.kubeconfig")
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return 1, fmt.Errorf("connect to the node: %w; run `make test-node`", err)
	}
	config.QPS, config.Burst = 200, 400
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	if kube, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return 1, fmt.Errorf("connect to the node: %w; run `make test-node`", err)
	}
	return m.Run(), nil
}

// command runs a program in the root of the repository, and returns its output. kubectl and its plugin are on its PATH.
func command(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig,
		"PATH="+filepath.Join(root, "bin", "k8s")+":"+filepath.Join(root, "bin")+":"+os.Getenv("PATH"))
	if !strings.Contains(name, "/") && name == "kubectl" {
		cmd.Path, cmd.Err = filepath.Join(root, "bin", "k8s", name), nil
	}
	output, err := cmd.CombinedOutput()
	if err != nil {
		return string(output), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, output)
	}
	return string(output), nil
}

// must runs a program as command does. A failure ends the test.
func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	output, err := command(context.WithoutCancel(t.Context()), name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return must(t, "kubectl", args...)
}

func helm(t *testing.T, args ...string) string {
	t.Helper()
	output, err := testenv.Helm(context.WithoutCancel(t.Context()), kubeconfig, args...)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// node runs a command of hack/node/node.sh.
func node(t *testing.T, args ...string) string {
	t.Helper()
	return must(t, filepath.Join(root, "hack", "node", "node.sh"), args...)
}
