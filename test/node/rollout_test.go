// SPDX-License-Identifier: Apache-2.0

//go:build node

package node

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// A disturbance is what happens to two replicas that serve logins.
type disturbance struct {
	name string
	// failing is how long requests can fail after a pod ended without notice, until its endpoint is removed.
	failing time.Duration
	// locked is the maximum time from the fifth wrong password to the lock in the status.
	locked time.Duration
	// happens causes it. It returns how long another leader took, if it waited for one.
	happens func(o *operator) (newLeader time.Duration)
}

// When a leader releases its lease, the next one polls for it every 2 s at most. Otherwise the lease expires after 15 s.
const (
	handedOver = 5 * time.Second
	expired    = 25 * time.Second
)

var disturbances = []disturbance{
	{name: "roll-out", locked: handedOver, happens: func(o *operator) time.Duration {
		kubectl(o.t, "-n", system, "rollout", "restart", "deployment", o.deployment)
		return 0
	}},
	{name: "image change", locked: handedOver, happens: func(o *operator) time.Duration {
		kubectl(o.t, "-n", system, "set", "image", "deployment/"+o.deployment, "manager="+repository+":"+after)
		return 0
	}},
	{name: "eviction of the leader", locked: handedOver, happens: func(o *operator) time.Duration {
		o.Expect(evict(o.t.Context(), o.leader(o.pods()))).To(gomega.Succeed())
		return 0
	}},
	{name: "drain", locked: handedOver, happens: (*operator).drain},
	{name: "scale down", locked: handedOver, happens: func(o *operator) time.Duration {
		kubectl(o.t, "-n", system, "scale", "deployment", o.deployment, "--replicas=1")
		return 0
	}},
	{name: "kubelet restarted", locked: handedOver, happens: func(o *operator) time.Duration {
		node(o.t, "halt", "kubelet")
		node(o.t, "resume", "kubelet")
		o.eventually(soon, func(g gomega.Gomega) {
			_, err := command(o.t.Context(), "curl", "--silent", "--fail", "http://127.0.0.1:10248/healthz")
			g.Expect(err).NotTo(gomega.HaveOccurred())
		})
		return 0
	}},
	{name: "leader killed", failing: 10 * time.Second, locked: expired, happens: func(o *operator) time.Duration {
		leader := o.leader(o.pods())
		return o.replaces(leader, func() { o.signal(o.process(leader), syscall.SIGKILL) })
	}},
	{name: "leader frozen", failing: 15 * time.Second, locked: expired, happens: func(o *operator) time.Duration {
		leader := o.leader(o.pods())
		pid := o.process(leader)
		took := o.replaces(leader, func() { o.signal(pid, syscall.SIGSTOP) })
		o.signal(pid, syscall.SIGCONT) // it has lost the lease and exits
		return took
	}},
}

// Each disturbance hits two replicas under logins and the requests of gateways, while accounts get locked.
func TestLoginsContinueWhilePodsComeAndGo(t *testing.T) {
	o := newOperator(t)
	o.secret(system, "shardinguser-database", map[string]string{"dsn": o.dsn})
	o.secret(system, "shardinguser-jwt", map[string]string{"secret": strings.Repeat("k3y ", 12)})
	helm(t, "install", release, chart, "--namespace="+system, "--set=image.tag="+before, "--set=replicas=2",
		"--set=login.jwt.existingSecret=shardinguser-jwt")
	o.runs(before)
	logins := o.loadUsers()
	_, token := o.logIn("load-0", loadPassword)
	o.Expect(token).NotTo(gomega.BeEmpty())
	verify := verifyRequest("Bearer " + token)

	var table strings.Builder
	table.WriteString("| event | requests | refused | reset | 5xx | no answer | last failure after | slowest | lock to status | new leader |\n" +
		"| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, d := range disturbances {
		t.Run(d.name, func(t *testing.T) { o.under(t).disturb(d, logins, verify, &table) })
	}
	t.Logf("\n%s", table.String())
	if path := os.Getenv("NODE_TABLE"); path != "" {
		o.Expect(os.WriteFile(path, []byte(table.String()), 0o600)).To(gomega.Succeed())
	}
}

const (
	loadPassword = "correct-horse-battery"
	loadUsers    = 5
	lockUsers    = 10
	chart        = "charts/shardinguser-operator"
)

// loadUsers creates the users that log in and those that are locked, and returns the requests of the logins.
func (o *operator) loadUsers() (logins [][]byte) {
	o.t.Helper()
	for i := range loadUsers {
		name := fmt.Sprintf("load-%d", i)
		o.user("default", name, loadPassword)
		logins = append(logins, loginRequest(name, loadPassword))
	}
	for i := range lockUsers {
		o.user("default", fmt.Sprintf("lock-%d", i), loadPassword)
	}
	return logins
}

// under returns the operator as a subtest sees it.
func (o *operator) under(t *testing.T) *operator {
	t.Helper()
	copied := *o
	copied.t, copied.WithT = t, gomega.NewWithT(t)
	return &copied
}

func (o *operator) disturb(d disturbance, logins [][]byte, verify []byte, table *strings.Builder) {
	kubectl(o.t, "-n", system, "scale", "deployment", o.deployment, "--replicas=2")
	o.serve(2)
	l := startLoad(o.service(), logins, verify)
	o.answers(l, 1)
	locking := o.startLocking()
	began := time.Now()
	newLeader := d.happens(o)
	o.rolledOut()
	o.answers(l, 2)
	lock, err := locking.end()
	o.Expect(err).NotTo(gomega.HaveOccurred())
	byLogin, byVerify := l.end()
	all := byLogin.add(byVerify)
	o.t.Logf("logins: %s", byLogin)
	o.t.Logf("verify: %s", byVerify)
	lastFailure := all.lastFailure.Sub(began)
	fmt.Fprintf(table, "| %s | %d | %d | %d | %d | %d | %s | %.2f s | %.2f s | %s |\n", d.name, all.sent, all.refused, all.reset, all.errors5xx,
		all.timeouts, seconds(lastFailure), all.slowest.Seconds(), lock.Seconds(), seconds(newLeader))
	o.t.Logf("container start to Ready: %s", o.startsIn())

	o.Expect(all.sent).To(gomega.BeNumerically(">", 500), "requests")
	o.Expect(all.others).To(gomega.BeZero(), "answers other than 200 and 5xx")
	if d.failing == 0 {
		o.Expect(all.failed()).To(gomega.BeZero(), "failed requests")
	} else if all.failed() > 0 {
		o.Expect(lastFailure).To(gomega.BeNumerically("<", d.failing), "the time of the last failed request")
	}
	o.Expect(lock).To(gomega.BeNumerically("<", d.locked), "lock to status")
}

// seconds prints a duration that does not apply as a dash.
func seconds(d time.Duration) string {
	if d <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// answers waits until the load had this many seconds' answers more.
func (o *operator) answers(l *load, seconds int) {
	o.t.Helper()
	enough := l.sent() + seconds*verifiesPerSecond
	o.eventually(soon, func(g gomega.Gomega) { g.Expect(l.sent()).To(gomega.BeNumerically(">=", enough)) })
}

// serve waits until the Service has this many endpoints, all ready, and leads to each of them. kube-proxy is a second behind.
// Each pod has a self-signed certificate of its own.
func (o *operator) serve(n int) {
	o.t.Helper()
	o.rolledOut()
	o.eventually(soon, func(g gomega.Gomega) {
		ready := kubectl(o.t, "-n", system, "get", "endpointslices", "-l", "kubernetes.io/service-name="+o.deployment+"-login",
			"-o", "jsonpath={.items[*].endpoints[*].conditions.ready}")
		g.Expect(strings.Fields(ready)).To(gomega.Equal(strings.Fields(strings.Repeat("true ", n))))
	})
	seen := map[string]bool{}
	o.eventually(soon, func(g gomega.Gomega) {
		c, err := connect(o.service())
		g.Expect(err).NotTo(gomega.HaveOccurred())
		defer c.close()
		seen[string(c.tls.ConnectionState().PeerCertificates[0].Raw)] = true
		g.Expect(seen).To(gomega.HaveLen(n))
	})
}

func evict(ctx context.Context, pod *corev1.Pod) error {
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
	return kube.SubResource("eviction").Create(ctx, pod, eviction)
}

// drain evicts all pods as kubectl drain does: it retries while the PodDisruptionBudget forbids an eviction. (The only node
// is not cordoned, since no other one could run the new pods.)
func (o *operator) drain() time.Duration {
	forbidden := 0
	for _, pod := range o.pods() {
		o.eventually(soon, func(g gomega.Gomega) {
			err := evict(o.t.Context(), &pod)
			if apierrors.IsTooManyRequests(err) {
				forbidden++
			}
			g.Expect(err).NotTo(gomega.HaveOccurred())
		})
	}
	o.Expect(forbidden).To(gomega.BeNumerically(">", 0), "evictions that the PodDisruptionBudget forbade")
	return 0
}

func (o *operator) signal(pid int, signal syscall.Signal) {
	o.t.Helper()
	o.Expect(syscall.Kill(pid, signal)).To(gomega.Succeed())
}

// replaces returns the time from a fault of the leader to the lease of another one.
func (o *operator) replaces(leader *corev1.Pod, fault func()) time.Duration {
	o.t.Helper()
	former, began := o.holder(), time.Now()
	fault()
	o.eventually(soon, func(g gomega.Gomega) {
		g.Expect(o.holder()).NotTo(gomega.BeElementOf("", former), leader.Name)
	})
	return time.Since(began)
}

// locking locks one account after another, and measures how long their statuses take.
type locking struct {
	stop    context.CancelFunc
	done    sync.WaitGroup
	slowest time.Duration
	err     error
}

func (o *operator) startLocking() *locking {
	ctx, stop := context.WithCancel(o.t.Context())
	l := &locking{stop: stop}
	address := o.service()
	l.done.Go(func() {
		// A measurement that began is finished.
		for n := 0; ctx.Err() == nil && l.err == nil; n++ {
			var took time.Duration
			took, l.err = o.lock(context.WithoutCancel(ctx), address, fmt.Sprintf("lock-%d", n%lockUsers))
			l.slowest = max(l.slowest, took)
			_ = pause(ctx, time.Second)
		}
	})
	return l
}

func (l *locking) end() (time.Duration, error) {
	l.stop()
	l.done.Wait()
	return l.slowest, l.err
}

// lock sends wrong passwords until the account is locked, and returns how long its status took. Then it unlocks the account.
func (o *operator) lock(ctx context.Context, address, name string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	locked := false
	for attempts := 0; !locked; attempts++ {
		if attempts < 20 { // more than five, since some may reach a pod that does not answer
			go func() { _, _, _ = ask(address, loginRequest(name, "wrong")) }()
		}
		if err := o.db.QueryRow(ctx, "SELECT locked_until IS NOT NULL FROM users WHERE username = $1", name).Scan(&locked); err != nil {
			return 0, err
		}
		if err := pause(ctx, poll); err != nil {
			return 0, fmt.Errorf("%s is not locked after %d wrong passwords: %w", name, attempts, err)
		}
	}
	began := time.Now()
	if err := sees(ctx, name, true); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if _, err := o.db.Exec(ctx, "UPDATE users SET locked_until = NULL, failed_login_attempts = 0 WHERE username = $1", name); err != nil {
		return 0, err
	}
	return took, sees(ctx, name, false)
}

// sees waits until the status says whether the account is locked.
func sees(ctx context.Context, name string, locked bool) error {
	for {
		var u v1alpha1.ShardingUser
		if err := kube.Get(ctx, client.ObjectKey{Namespace: "default", Name: name}, &u); err == nil && u.Status.Locked == locked {
			return nil
		}
		if err := pause(ctx, poll/5); err != nil {
			return fmt.Errorf("the status of %s does not become locked=%t: %w", name, locked, err)
		}
	}
}

// pause waits between two looks at a condition.
func pause(ctx context.Context, interval time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(interval):
		return nil
	}
}
