// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestMain(m *testing.M) { Main(m) }

func TestAdministratorConnectsToTheAPIServer(t *testing.T) {
	version, err := discovery.NewDiscoveryClientForConfigOrDie(APIServer(t)).ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if version.GitVersion == "v0.0.0-master+$Format:%H$" || version.Minor == "" {
		t.Errorf("the server reports the version %s", version)
	}
	names, err := Cluster(t).Kubectl(t.Context(), "get", "namespaces", "-o", "name")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(names, "namespace/default\n") {
		t.Errorf("kubectl lists the namespaces %q, want default among them", names)
	}
}

func TestKubectlErrorIncludesTheReason(t *testing.T) {
	_, err := Cluster(t).Apply(t.Context(), `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"No Name"}}`)
	if err == nil || !strings.Contains(err.Error(), "a lowercase RFC 1123 subdomain") {
		t.Errorf("got the error %v, want the message of the API server", err)
	}
}

func TestServiceAccountHasOnlyTheRightsOfItsRole(t *testing.T) {
	plane := Cluster(t)
	config := ServiceAccount(t, "testenv", "reader")
	if config.BearerToken == "" || len(config.CertData) > 0 {
		t.Fatal("the ServiceAccount does not connect with its token")
	}
	if err := list(t, config, "testenv"); !apierrors.IsForbidden(err) {
		t.Fatalf("without a role, listing Secrets gives %v, want Forbidden", err)
	}
	if _, err := plane.Apply(t.Context(), `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: testenv}
rules: [{apiGroups: [""], resources: [secrets], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: testenv}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: testenv}]
`); err != nil {
		t.Fatal(err)
	}
	within(t, time.Now().Add(startTimeout), "with the role, listing Secrets fails", func() bool {
		return list(t, config, "testenv") == nil
	})

	kubeconfig, err := plane.KubeconfigFor(config)
	if err != nil {
		t.Fatal(err)
	}
	output, err := plane.Kubectl(t.Context(), "--kubeconfig="+kubeconfig, "auth", "whoami")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(output, "system:serviceaccount:testenv:reader") {
		t.Errorf("the kubeconfig connects as\n%s", output)
	}
	if err := list(t, config, "default"); !apierrors.IsForbidden(err) {
		t.Errorf("in another namespace, listing Secrets gives %v, want Forbidden", err)
	}
}

func list(t *testing.T, config *rest.Config, namespace string) error {
	t.Helper()
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c.List(t.Context(), &corev1.SecretList{}, client.InNamespace(namespace))
}

func TestMissingProgramErrorNamesTheCommand(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", t.TempDir())
	_, err := StartControlPlane(t.Context())
	if err == nil || !strings.Contains(err.Error(), "run `make prepare`") {
		t.Errorf("got the error %v, want one with `make prepare`", err)
	}
}

func TestCommandEndsWithItsScope(t *testing.T) {
	s, err := newScope("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := s.command("manager", "/bin/sh", "-c", "sleep 600 & sleep 600")
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		close(ended)
	}()
	within(t, time.Now().Add(startTimeout), "the program did not start", func() bool {
		return exists(s.path("pids", "manager"))
	})
	if err := s.close(); err != nil {
		t.Error(err)
	}
	select {
	case <-ended:
	case <-time.After(startTimeout):
		t.Error("the program still runs")
	}
}
