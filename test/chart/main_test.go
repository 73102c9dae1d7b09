// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const (
	chartFolder = "charts/shardinguser-operator"

	// This release in this namespace has the names of config/default.
	release = "shardinguser"
	system  = "shardinguser-system"
)

// Shared by all tests.
var (
	root    string                // of the repository
	folder  string                // for files of the tests
	program string                // the built manager
	plane   *testenv.ControlPlane // without the objects that the chart installs
	kube    client.Client         // an administrator's
)

func TestMain(m *testing.M) { testenv.MainAround(m, run) }

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	if root, err = testenv.Root(); err != nil {
		return 1, err
	}
	if folder, err = os.MkdirTemp("", "shardinguser-chart-"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if program, err = testenv.BuildManager(ctx, folder); err != nil {
		return 1, err
	}
	if plane, err = testenv.StartControlPlane(ctx, testenv.WithControllerManager()); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	if kube, err = client.New(plane.Config(), client.Options{Scheme: scheme}); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// helm runs helm as an administrator.
func helm(t *testing.T, args ...string) string {
	t.Helper()
	output, err := testenv.Helm(t.Context(), plane.Kubeconfig(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// helmRefuses returns the reason of a refusal.
func helmRefuses(t *testing.T, args ...string) string {
	t.Helper()
	output, err := testenv.Helm(t.Context(), plane.Kubeconfig(), args...)
	if err == nil {
		t.Fatalf("helm %s succeeds:\n%s", strings.Join(args, " "), output)
	}
	return err.Error()
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	output, err := plane.Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// values writes a file of values. It is not in the test's own folder, because helm splits paths at commas, which names
// of tests can contain.
func values(t *testing.T, content string) string {
	t.Helper()
	file, err := os.CreateTemp(folder, "values-*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteString(content)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	return file.Name()
}

// examples are the value files that the chart itself is linted with.
func examples(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, chartFolder, "ci", "*.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("there are the files of values %v: %v", files, err)
	}
	return files
}

// defaults are the defaults of the manager's flags, from its help; empty for a flag without one.
func defaults(t *testing.T) map[string]string {
	t.Helper()
	usage, err := exec.CommandContext(t.Context(), program, "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("ask the manager for its flags: %v\n%s", err, usage)
	}
	flags := map[string]string{}
	flag := regexp.MustCompile(`(?m)^  --([a-z-]+).*\n    \t(?:.*\(default ([^()]*)\)$)?`)
	for _, match := range flag.FindAllStringSubmatch(string(usage), -1) {
		flags[match[1]] = match[2]
	}
	if len(flags) < 40 {
		t.Fatalf("the manager has %d flags: are they still read right?", len(flags))
	}
	return flags
}
