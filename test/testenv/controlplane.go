// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// startTimeout allows for busy machines, and is shorter than the timeout of a test.
const (
	startTimeout = 2 * time.Minute
	pollInterval = 50 * time.Millisecond
)

// A ControlPlane is a running etcd and kube-apiserver with RBAC, which end with this process.
type ControlPlane struct {
	scope      *scope
	plane      *envtest.ControlPlane
	config     *rest.Config
	client     client.Client
	kubeconfig string
	kubectl    string
}

type controlPlaneOptions struct {
	controllerManager bool
	crds              []string
}

// A ControlPlaneOption changes what StartControlPlane starts.
type ControlPlaneOption func(*controlPlaneOptions)

// WithControllerManager also runs kube-controller-manager: it deletes terminating namespaces and orphaned dependents, and
// creates the default ServiceAccounts.
func WithControllerManager() ControlPlaneOption {
	return func(o *controlPlaneOptions) { o.controllerManager = true }
}

// WithCRDs installs the CustomResourceDefinitions of these folders or files.
func WithCRDs(paths ...string) ControlPlaneOption {
	return func(o *controlPlaneOptions) { o.crds = append(o.crds, paths...) }
}

// silence sets a logger, since controller-runtime otherwise prints a warning. A logger that was set before stays.
var silence = sync.OnceFunc(func() { log.SetLogger(logr.Discard()) })

// StartControlPlane starts a control plane and returns when it serves. It ends with Stop, or with this process.
func StartControlPlane(ctx context.Context, options ...ControlPlaneOption) (_ *ControlPlane, err error) {
	silence()
	var opts controlPlaneOptions
	for _, option := range options {
		option(&opts)
	}
	programs := map[string]string{"etcd": "", "kube-apiserver": "", "kubectl": ""}
	if opts.controllerManager {
		programs["kube-controller-manager"] = ""
	}
	for name := range programs {
		if programs[name], err = program(name); err != nil {
			return nil, err
		}
	}

	s, err := newScope("controlplane", nil)
	if err != nil {
		return nil, err
	}
	c := &ControlPlane{scope: s, kubectl: programs["kubectl"]}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	if err := c.startServers(programs["etcd"], programs["kube-apiserver"]); err != nil {
		return nil, err
	}
	if c.config, err = c.User("admin", "system:masters"); err != nil {
		return nil, err
	}
	// By default, client-go limits clients to five requests a second.
	c.config.QPS, c.config.Burst = 1000, 2000
	if c.kubeconfig, err = c.KubeconfigFor(c.config); err != nil {
		return nil, err
	}
	if c.client, err = client.New(c.config, client.Options{}); err != nil {
		return nil, fmt.Errorf("create a client: %w", err)
	}
	if err := c.waitFor(ctx, client.ObjectKey{Name: defaultName}, &corev1.Namespace{}); err != nil {
		return nil, s.withLog("kube-apiserver", err)
	}
	if opts.controllerManager {
		if err := c.startControllerManager(ctx, programs["kube-controller-manager"]); err != nil {
			return nil, err
		}
	}
	if len(opts.crds) > 0 {
		if _, err := envtest.InstallCRDs(c.config, envtest.CRDInstallOptions{
			Paths: opts.crds, ErrorIfPathMissing: true, MaxTime: startTimeout,
		}); err != nil {
			return nil, fmt.Errorf("install the CRDs: %w", err)
		}
	}
	return c, nil
}

// defaultName is the name of the namespace that kube-apiserver creates, and of the ServiceAccount that
// kube-controller-manager creates in it. Each program is ready when its object exists.
const defaultName = "default"

// fewCollections makes a Go program collect garbage less often: tests are short of CPU, not of memory.
const fewCollections = "GOGC=300"

func (c *ControlPlane) startServers(etcd, apiserver string) error {
	for _, dir := range []string{"etcd", "apiserver"} {
		if err := c.scope.mkdir(dir); err != nil {
			return err
		}
	}
	etcd, err := c.scope.wrap("etcd", etcd, fewCollections)
	if err != nil {
		return err
	}
	apiserver, err = c.scope.wrap("kube-apiserver", apiserver, fewCollections)
	if err != nil {
		return err
	}
	etcdLog, err := c.scope.log("etcd")
	if err != nil {
		return err
	}
	defer func() { _ = etcdLog.Close() }() // the program has its own descriptor
	apiserverLog, err := c.scope.log("kube-apiserver")
	if err != nil {
		return err
	}
	defer func() { _ = apiserverLog.Close() }()
	etcdPort, err := c.scope.port()
	if err != nil {
		return err
	}
	apiserverPort, err := c.scope.port()
	if err != nil {
		return err
	}

	c.plane = &envtest.ControlPlane{
		Etcd: &envtest.Etcd{
			URL:  &url.URL{Scheme: "http", Host: etcdPort.address()},
			Path: etcd, DataDir: c.scope.path("etcd"), StartTimeout: startTimeout, Out: etcdLog, Err: etcdLog,
		},
		APIServer: &envtest.APIServer{
			Path: apiserver, CertDir: c.scope.path("apiserver"), StartTimeout: startTimeout, Out: apiserverLog, Err: apiserverLog,
		},
		KubectlPath: c.kubectl,
	}
	c.plane.APIServer.SecureServing.ListenAddr = envtest.ListenAddr{Address: "127.0.0.1", Port: apiserverPort.number}
	c.plane.APIServer.Configure().Set("authorization-mode", "RBAC")
	if err := c.plane.Start(); err != nil {
		err = c.scope.withLog("etcd", fmt.Errorf("start the control plane: %w", err))
		return c.scope.withLog("kube-apiserver", err)
	}
	return nil
}

func (c *ControlPlane) startControllerManager(ctx context.Context, path string) error {
	ca, err := c.scope.write("ca.crt", string(c.config.CAData), 0o600)
	if err != nil {
		return err
	}
	cmd, err := c.scope.command("kube-controller-manager", path,
		"--kubeconfig="+c.kubeconfig,
		"--leader-elect=false",
		"--secure-port=0",
		"--root-ca-file="+ca,
		"--service-account-private-key-file="+filepath.Join(c.plane.APIServer.CertDir, "sa-signer.key"),
		"--kube-api-qps=500", "--kube-api-burst=1000",
	)
	if err != nil {
		return err
	}
	log, err := c.scope.log("kube-controller-manager")
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start kube-controller-manager: %w", err)
	}
	ctx, exited := whileRunning(ctx, cmd, "kube-controller-manager")
	defer exited()
	key := client.ObjectKey{Namespace: defaultName, Name: defaultName}
	if err := c.waitFor(ctx, key, &corev1.ServiceAccount{}); err != nil {
		return c.scope.withLog("kube-controller-manager", err)
	}
	return nil
}

// waitFor waits until the object exists. It retries after any error, since the server may not be ready.
func (c *ControlPlane) waitFor(ctx context.Context, key client.ObjectKey, object client.Object) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, pollInterval, startTimeout, true, func(ctx context.Context) (bool, error) {
		last = c.client.Get(ctx, key, object)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("wait for %T %s: %w", object, key.Name, errors.Join(context.Cause(ctx), last, err))
	}
	return nil
}

// whileRunning collects the program's exit status, and returns a context that ends when the program does.
func whileRunning(ctx context.Context, cmd *exec.Cmd, name string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		_ = cmd.Wait() // ProcessState has the same, also for exit status 0
		cancel(fmt.Errorf("%s %w: %s", name, errEnded, cmd.ProcessState))
	}()
	return ctx, func() { cancel(nil) }
}

var errEnded = errors.New("ended by itself")

// Config returns an administrator's configuration, a copy.
func (c *ControlPlane) Config() *rest.Config {
	return rest.CopyConfig(c.config)
}

// Kubeconfig returns the path of an administrator's kubeconfig.
func (c *ControlPlane) Kubeconfig() string {
	return c.kubeconfig
}

// PID returns the process id of a program of the control plane, such as kube-apiserver.
func (c *ControlPlane) PID(program string) (int, error) {
	return c.scope.pid(program)
}

// Stop ends the control plane and deletes its folder. It may be called again.
func (c *ControlPlane) Stop() error {
	return c.scope.close()
}
