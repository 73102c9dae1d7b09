// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const (
	soon = time.Minute
	poll = 100 * time.Millisecond
)

// runs does what a kubelet would with the pod of a Deployment: it puts the Secrets of its volumes into files, and
// starts the manager with the container's arguments and environment as the pod's ServiceAccount. Only the mount paths
// and the addresses differ.
func runs(t *testing.T, deployment string) *testenv.Manager {
	t.Helper()
	return runsIn(t, system, deployment)
}

func runsIn(t *testing.T, namespace, deployment string) *testenv.Manager {
	t.Helper()
	g := gomega.NewWithT(t)
	var d appsv1.Deployment
	g.Expect(kube.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: deployment}, &d)).To(gomega.Succeed())
	pod := d.Spec.Template.Spec
	container := pod.Containers[0]
	mounts := t.TempDir()
	for _, volume := range pod.Volumes {
		mountSecret(t, namespace, filepath.Join(mounts, mountPath(t, container, volume.Name)), volume.Secret)
	}
	moved := func(text string) string {
		return strings.ReplaceAll(text, "/etc/shardinguser/", mounts+"/etc/shardinguser/")
	}

	args := []string{"--leader-election-namespace=" + namespace} // a pod knows this itself
	for _, arg := range container.Args {
		if name, address, _ := strings.Cut(arg, "="); strings.HasSuffix(name, "-bind-address") {
			g.Expect(container.Ports).To(gomega.ContainElement(gomega.HaveField("ContainerPort",
				gomega.WithTransform(func(port int32) string { return ":" + strconv.Itoa(int(port)) }, gomega.Equal(address)))), arg)
			continue
		}
		args = append(args, moved(arg))
	}
	environment := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	for _, variable := range container.Env {
		value := moved(variable.Value)
		if variable.ValueFrom != nil {
			value = "pod-of-" + t.Name() // its name or UID
		}
		environment = append(environment, variable.Name+"="+value)
	}
	rights, err := plane.ServiceAccount(t.Context(), namespace, pod.ServiceAccountName)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	m, err := plane.StartManager(testenv.ManagerOptions{Program: program, Rights: rights, Args: args, Env: environment})
	g.Expect(err).NotTo(gomega.HaveOccurred())
	t.Cleanup(func() {
		g.Expect(m.Stop(25 * time.Second)).To(gomega.Succeed())
		said, err := os.ReadFile(m.Log)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		for line := range strings.Lines(string(said)) {
			if strings.Contains(line, "forbidden") {
				t.Errorf("the chart's rights are not enough: %s", line)
			}
		}
		if t.Failed() {
			t.Logf("the manager said last:\n%s", m.Tail())
		}
	})
	return m
}

func mountPath(t *testing.T, container corev1.Container, volume string) string {
	t.Helper()
	for _, mount := range container.VolumeMounts {
		if mount.Name == volume {
			return mount.MountPath
		}
	}
	t.Fatalf("the volume %s is not mounted", volume)
	return ""
}

func mountSecret(t *testing.T, namespace, path string, source *corev1.SecretVolumeSource) {
	t.Helper()
	g := gomega.NewWithT(t)
	var secret corev1.Secret
	g.Expect(kube.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: source.SecretName}, &secret)).To(gomega.Succeed())
	g.Expect(os.MkdirAll(path, 0o700)).To(gomega.Succeed())
	items := source.Items
	if len(items) == 0 {
		for key := range secret.Data {
			items = append(items, corev1.KeyToPath{Key: key, Path: key})
		}
	}
	for _, item := range items {
		g.Expect(secret.Data).To(gomega.HaveKey(item.Key), "a pod would not start")
		g.Expect(os.WriteFile(filepath.Join(path, item.Path), secret.Data[item.Key], 0o600)).To(gomega.Succeed())
	}
}

// secret creates or replaces a Secret, and creates its namespace if that is missing.
func secret(t *testing.T, namespace, name string, data map[string]string) {
	t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, StringData: data}
	err := kube.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	if err == nil || apierrors.IsAlreadyExists(err) {
		err = kube.Create(t.Context(), s)
	}
	if apierrors.IsAlreadyExists(err) {
		err = kube.Update(t.Context(), s)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// becomesReady waits until a user is Ready.
func becomesReady(t *testing.T, u *v1alpha1.ShardingUser) {
	t.Helper()
	g := gomega.NewWithT(t)
	g.Eventually(func(g gomega.Gomega) {
		g.Expect(kube.Get(context.WithoutCancel(t.Context()), client.ObjectKeyFromObject(u), u)).To(gomega.Succeed())
		g.Expect(u.Status.Conditions).To(gomega.ContainElement(gomega.And(
			gomega.HaveField("Type", v1alpha1.ConditionReady), gomega.HaveField("Reason", v1alpha1.ReasonSynced),
			gomega.HaveField("ObservedGeneration", u.Generation))))
	}).WithTimeout(soon).WithPolling(poll).Should(gomega.Succeed())
}

// uninstalled uninstalls a release at the end of the test, with all users and the CRDs that helm keeps, so that the
// next test finds a clean cluster.
func uninstalled(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		g := gomega.NewWithT(t)
		var users v1alpha1.ShardingUserList
		if err := kube.List(ctx, &users); !meta.IsNoMatchError(err) && !apierrors.IsNotFound(err) {
			g.Expect(err).NotTo(gomega.HaveOccurred())
		}
		for _, u := range users.Items {
			patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))
			g.Expect(client.IgnoreNotFound(kube.Patch(ctx, &u, patch))).To(gomega.Succeed())
			g.Expect(client.IgnoreNotFound(kube.Delete(ctx, &u))).To(gomega.Succeed())
		}
		for _, name := range []string{release, otherRelease} {
			_, err := testenv.Helm(ctx, plane.Kubeconfig(), "uninstall", name, "--namespace="+system, "--ignore-not-found")
			g.Expect(err).NotTo(gomega.HaveOccurred())
		}
		crds, err := plane.Kubectl(ctx, "get", "crds", "-o", "name")
		g.Expect(err).NotTo(gomega.HaveOccurred())
		for crd := range strings.FieldsSeq(crds) {
			if strings.HasSuffix(crd, ".sharding.io") {
				_, err := plane.Kubectl(ctx, "annotate", "--overwrite", crd, confirmation)
				g.Expect(err).NotTo(gomega.HaveOccurred())
			}
		}
		_, err = plane.Kubectl(ctx, "delete", "--ignore-not-found", "--timeout=60s", "-k", filepath.Join(root, "config", "crd"))
		g.Expect(err).NotTo(gomega.HaveOccurred())
	})
}
