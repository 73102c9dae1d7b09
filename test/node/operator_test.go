// SPDX-License-Identifier: Apache-2.0

//go:build node

package node

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const leaseName = "shardinguser-operator.sharding.io"

// An operator is an installation of the operator, in the namespace of config/default, with a database of its own.
type operator struct {
	*gomega.WithT
	t          *testing.T
	dsn        string // for the operator, with its own role
	admin      string // an administrator's
	db         *pgxpool.Pool
	deployment string
}

// newOperator creates the database. The test installs the operator, and newOperator's cleanup removes it.
func newOperator(t *testing.T) *operator {
	t.Helper()
	o := &operator{WithT: gomega.NewWithT(t), t: t, deployment: manager}
	admin := testenv.Database(t)
	o.admin, o.dsn = admin, testenv.Role(t, admin)
	var err error
	o.db, err = pgxpool.New(context.WithoutCancel(t.Context()), admin)
	o.Expect(err).NotTo(gomega.HaveOccurred())
	t.Cleanup(o.db.Close)
	o.sql("GRANT CREATE ON SCHEMA public TO " + o.role(o.dsn))
	t.Cleanup(func() { o.logs(); o.remove() })
	return o
}

// logs prints the state of the pods if the test failed.
func (o *operator) logs() {
	if !o.t.Failed() {
		return
	}
	for _, args := range [][]string{
		{"get", "pods,deployments", "-A", "-o", "wide"},
		{"-n", system, "logs", "--tail=30", "--prefix", "-l", "control-plane=controller-manager"},
		{"-n", system, "get", "events", "--sort-by=.lastTimestamp"},
	} {
		output, err := command(context.WithoutCancel(o.t.Context()), "kubectl", args...)
		o.t.Log(output, err)
	}
}

// remove deletes all that a failed test can leave behind.
func (o *operator) remove() {
	ctx := context.WithoutCancel(o.t.Context())
	var users v1alpha1.ShardingUserList
	if err := kube.List(ctx, &users); err != nil && !meta.IsNoMatchError(err) && !apierrors.IsNotFound(err) {
		o.t.Error(err)
	}
	for _, u := range users.Items {
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))
		_, _ = kube.Patch(ctx, &u, patch), kube.Delete(ctx, &u)
	}
	_, _ = testenv.Helm(ctx, kubeconfig, "uninstall", release, "--namespace="+system, "--ignore-not-found")
	_ = confirmCRDs(ctx) // they may not exist
	for _, tree := range []string{"config/default", "config/namespaced", "config/samples"} {
		_, _ = command(ctx, "kubectl", "delete", "--ignore-not-found", "--timeout=60s", "-k", tree)
	}
	_, err := command(ctx, "kubectl", "delete", "--ignore-not-found", "--timeout=60s", "namespace", system, "team-a")
	o.Expect(err).NotTo(gomega.HaveOccurred())
	o.removed("clusterroles,clusterrolebindings,crds,validatingadmissionpolicies")
}

// confirmCRDs confirms the deletion of the CRDs, as docs/uninstall.md says.
func confirmCRDs(ctx context.Context) error {
	_, err := command(ctx, "kubectl", "annotate", "--overwrite", "crd", "shardingusers.sharding.io", "shardinguserpolicies.sharding.io",
		"sharding.io/confirm-deletion=true")
	return err
}

// removed waits until no object of these kinds is the operator's. A pod takes a while to end.
func (o *operator) removed(kinds string) {
	o.t.Helper()
	o.eventually(soon, func(g gomega.Gomega) {
		names, err := command(context.WithoutCancel(o.t.Context()), "kubectl", "-n", system, "get", kinds, "-o", "name")
		g.Expect(err).NotTo(gomega.HaveOccurred())
		left := regexp.MustCompile(`(?m)^.*/(?:shardinguser|accounts).*$`).FindAllString(names, -1)
		g.Expect(left).To(gomega.BeEmpty())
	})
}

func (o *operator) sql(statement string, args ...any) {
	o.t.Helper()
	_, err := o.db.Exec(context.WithoutCancel(o.t.Context()), statement, args...)
	o.Expect(err).NotTo(gomega.HaveOccurred(), statement)
}

// role returns the role of a DSN, quoted for SQL.
func (o *operator) role(dsn string) string {
	o.t.Helper()
	config, err := pgx.ParseConfig(dsn)
	o.Expect(err).NotTo(gomega.HaveOccurred())
	return pgx.Identifier{config.User}.Sanitize()
}

// rows returns the usernames in the table users.
func (o *operator) rows() []string {
	o.t.Helper()
	rows, err := o.db.Query(o.t.Context(), "SELECT username FROM users ORDER BY 1")
	o.Expect(err).NotTo(gomega.HaveOccurred())
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	o.Expect(err).NotTo(gomega.HaveOccurred())
	return names
}

func (o *operator) eventually(within time.Duration, check func(g gomega.Gomega)) {
	o.t.Helper()
	o.Eventually(check).WithTimeout(within).WithPolling(poll).Should(gomega.Succeed())
}

// secret creates or replaces a Secret.
func (o *operator) secret(namespace, name string, data map[string]string) {
	o.t.Helper()
	ctx := context.WithoutCancel(o.t.Context())
	_ = kube.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, StringData: data}
	err := kube.Create(ctx, s)
	if apierrors.IsAlreadyExists(err) {
		err = kube.Update(ctx, s)
	}
	o.Expect(err).NotTo(gomega.HaveOccurred())
}

// user creates a user whose password is in a Secret of the same name, and waits until it is Ready.
func (o *operator) user(namespace, name, password string) *v1alpha1.ShardingUser {
	o.t.Helper()
	o.secret(namespace, name, map[string]string{"password": password})
	u := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	u.Spec.Roles = []v1alpha1.Role{"viewer"}
	u.Spec.Password = &v1alpha1.PasswordSource{SecretRef: v1alpha1.SecretKeyReference{Name: name}}
	o.Expect(kube.Create(o.t.Context(), u)).To(gomega.Succeed())
	kubectl(o.t, "-n", namespace, "wait", "--for=condition=Ready", "shardinguser/"+name, "--timeout=60s")
	return u
}

// rolledOut waits until the Deployment has its replicas, all of the latest template and Ready, no others, and is served.
func (o *operator) rolledOut() {
	o.t.Helper()
	o.eventually(2*time.Minute, func(g gomega.Gomega) {
		var d appsv1.Deployment
		g.Expect(kube.Get(o.t.Context(), client.ObjectKey{Namespace: system, Name: o.deployment}, &d)).To(gomega.Succeed())
		g.Expect(d.Status.ObservedGeneration).To(gomega.Equal(d.Generation))
		pods := o.pods()
		g.Expect(pods).To(gomega.HaveLen(int(*d.Spec.Replicas)), "pods")
		g.Expect(d.Status.UpdatedReplicas).To(gomega.Equal(*d.Spec.Replicas), "updated")
		g.Expect(d.Status.ReadyReplicas).To(gomega.Equal(*d.Spec.Replicas), "ready")
		g.Expect(o.leader(pods)).NotTo(gomega.BeNil(), "leader")
		// kube-proxy is a second behind the status of the Deployment.
		c, err := connect(o.service())
		g.Expect(err).NotTo(gomega.HaveOccurred())
		c.close()
	})
}

// pods returns the pods of the operator, also those that are terminating.
func (o *operator) pods() []corev1.Pod {
	o.t.Helper()
	var pods corev1.PodList
	o.Expect(kube.List(o.t.Context(), &pods, client.InNamespace(system), client.MatchingLabels{"control-plane": "controller-manager"})).
		To(gomega.Succeed())
	return pods.Items
}

// leader returns the pod among these that holds the lease; nil if none does.
func (o *operator) leader(pods []corev1.Pod) *corev1.Pod {
	holder := o.holder()
	for _, pod := range pods {
		if strings.HasPrefix(holder, pod.Name+"_") {
			return &pod
		}
	}
	return nil
}

// holder returns the identity of the lease's holder; "" if there is none.
func (o *operator) holder() string {
	var lease coordinationv1.Lease
	err := kube.Get(o.t.Context(), client.ObjectKey{Namespace: system, Name: leaseName}, &lease)
	if err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// process returns the id of the manager's process in a pod, whose control group has the id of the container.
func (o *operator) process(pod *corev1.Pod) int {
	o.t.Helper()
	o.Expect(pod.Status.ContainerStatuses).To(gomega.HaveLen(1))
	_, container, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	o.Expect(container).NotTo(gomega.BeEmpty())
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	o.Expect(err).NotTo(gomega.HaveOccurred())
	for _, file := range files {
		if content, err := os.ReadFile(file); err == nil && bytes.Contains(content, []byte(container)) {
			pid, err := strconv.Atoi(strings.Split(file, "/")[2])
			o.Expect(err).NotTo(gomega.HaveOccurred())
			return pid
		}
	}
	o.t.Fatalf("no process of the container %s", container)
	return 0
}

// startsIn returns the longest time from the start of a container to Ready. Kubernetes records whole seconds.
func (o *operator) startsIn() time.Duration {
	var slowest time.Duration
	for _, pod := range o.pods() {
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && pod.Status.ContainerStatuses[0].State.Running != nil {
				slowest = max(slowest, condition.LastTransitionTime.Sub(pod.Status.ContainerStatuses[0].State.Running.StartedAt.Time))
			}
		}
	}
	return slowest
}

// service returns the address of the login API's Service.
func (o *operator) service() string {
	o.t.Helper()
	var s corev1.Service
	o.Expect(kube.Get(o.t.Context(), client.ObjectKey{Namespace: system, Name: o.deployment + "-login"}, &s)).To(gomega.Succeed())
	return fmt.Sprintf("%s:%d", s.Spec.ClusterIP, s.Spec.Ports[0].Port)
}

// logIn logs in through the Service, and returns the status code and the token.
func (o *operator) logIn(username, password string) (status int, token string) {
	o.t.Helper()
	status, body, err := ask(o.service(), loginRequest(username, password))
	o.Expect(err).NotTo(gomega.HaveOccurred())
	var answer struct {
		Token string `json:"token"`
	}
	_ = json.Unmarshal([]byte(body), &answer)
	return status, answer.Token
}

func (o *operator) logsIn(username, password string) {
	o.t.Helper()
	o.eventually(soon, func(g gomega.Gomega) {
		status, _, err := ask(o.service(), loginRequest(username, password))
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(status).To(gomega.Equal(200))
	})
}

// runs waits until all pods run this version of the image, and checks that each manager reports it.
func (o *operator) runs(version string) {
	o.t.Helper()
	o.rolledOut()
	for _, pod := range o.pods() {
		o.Expect(pod.Spec.Containers[0].Image).To(gomega.Equal(repository + ":" + version))
		log := kubectl(o.t, "-n", system, "logs", pod.Name)
		o.Expect(log).To(gomega.ContainSubstring(`"version":"`+version+`"`), "the manager logs its version")
	}
}

// readme runs the commands of the README as a user does, in a folder with the files that it names. Its curl runs in a pod.
func (o *operator) readme() string {
	o.t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	o.Expect(err).NotTo(gomega.HaveOccurred())
	dir := o.t.TempDir()
	o.Expect(os.WriteFile(filepath.Join(dir, "dsn.txt"), []byte(o.dsn+"\n"), 0o600)).To(gomega.Succeed())
	host, port, _ := strings.Cut(o.service(), ":")
	curl := fmt.Sprintf("#!/bin/sh\nexec kubectl -n gateways exec client -- curl --silent --connect-to %s-login.%s:443:%s:%s \"$@\"\n",
		manager, system, host, port)
	o.Expect(os.WriteFile(filepath.Join(dir, "curl"), []byte(curl), 0o755)).To(gomega.Succeed()) //nolint:gosec // it is a program
	runnable := regexp.MustCompile("(?s)<!-- not run: [^\n]+ -->\n\n```sh\n.*?```").ReplaceAllString(string(text), "")
	var output strings.Builder
	blocks := regexp.MustCompile("(?s)```(sh|yaml)\n(.*?)```").FindAllStringSubmatch(runnable, -1)
	o.Expect(len(blocks)).To(gomega.BeNumerically(">=", 4), "the README's blocks")
	for _, block := range blocks {
		name := regexp.MustCompile(`^# ([a-z0-9.-]+\.yaml)\n`).FindStringSubmatch(block[2])
		switch {
		case block[1] == "sh":
			if strings.Contains(block[2], "curl") {
				o.rolledOut() // a user is not that fast
			}
			output.WriteString(must(o.t, "bash", "-euo", "pipefail", "-c", "cd '"+dir+"'; PATH="+dir+":$PATH\n"+block[2]))
		case name != nil:
			o.Expect(os.WriteFile(filepath.Join(dir, name[1]), []byte(block[2]), 0o600)).To(gomega.Succeed())
		}
	}
	return output.String()
}

// client starts a pod with curl in the namespace gateways.
func (o *operator) client() {
	o.t.Helper()
	manifest := filepath.Join(o.t.TempDir(), "client.yaml")
	o.Expect(os.WriteFile(manifest, []byte(`
apiVersion: v1
kind: Namespace
metadata: {name: gateways}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: gateways}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: client, image: localhost/client:1, imagePullPolicy: Never}
`), 0o600)).To(gomega.Succeed())
	kubectl(o.t, "apply", "-f", manifest)
	kubectl(o.t, "-n", "gateways", "wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
}

func basic(username, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password))
}
