// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const (
	soon = 30 * time.Second
	poll = 100 * time.Millisecond

	right, wrong = "the right password", "a wrong password"
)

// ways are the DSNs by which a manager finds the primary.
var ways = map[string]func(ctx context.Context, dsn string) (string, error){
	"HAProxy":   func(_ context.Context, dsn string) (string, error) { return dsn, nil },
	"two hosts": func(ctx context.Context, dsn string) (string, error) { return pair.WithBothHosts(ctx, dsn) },
}

// A crew is a manager with a database and a namespace of its own, and its users.
type crew struct {
	*gomega.WithT
	t         *testing.T
	way       string
	kube      client.Client // an administrator's
	admin     string        // an administrator's DSN of the database, by HAProxy
	namespace string
	manager   *testenv.Manager
	calm      time.Duration // the longest time that a user took to be ready without a fault
}

func newCrew(t *testing.T, way string) *crew {
	t.Helper()
	c := &crew{WithT: gomega.NewWithT(t), t: t, way: way}
	var err error
	c.admin, err = pair.Server().NewDatabase(t.Context())
	c.Expect(err).NotTo(gomega.HaveOccurred())
	dsn, err := pair.Server().NewRole(t.Context(), c.admin)
	c.Expect(err).NotTo(gomega.HaveOccurred())
	role, err := pgx.ParseConfig(dsn)
	c.Expect(err).NotTo(gomega.HaveOccurred())
	c.exec(`GRANT CREATE ON SCHEMA public TO ` + role.User)
	dsn, err = ways[way](t.Context(), dsn)
	c.Expect(err).NotTo(gomega.HaveOccurred())

	c.kube, err = client.New(plane.Config(), client.Options{Scheme: scheme})
	c.Expect(err).NotTo(gomega.HaveOccurred())
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "ha-"}}
	c.Expect(c.kube.Create(t.Context(), namespace)).To(gomega.Succeed())
	c.namespace = namespace.Name
	c.manager, err = plane.StartManager(testenv.ManagerOptions{
		Program: program, Rights: rights, DSN: dsn,
		Args: []string{
			"--watch-namespaces=" + c.namespace, "--login-source-rate=0", "--leader-election-namespace=" + testenv.SystemNamespace,
		},
	})
	c.Expect(err).NotTo(gomega.HaveOccurred())
	t.Cleanup(c.finish)
	ready, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	c.Expect(c.manager.Ready(ready)).To(gomega.Succeed())
	return c
}

func (c *crew) finish() {
	if err := c.manager.Stop(25 * time.Second); err != nil {
		c.t.Error(err)
	}
	output, err := os.ReadFile(c.manager.Log)
	if err != nil {
		c.t.Error(err)
	}
	if strings.Contains(string(output), "panic") {
		c.t.Error("the manager printed a panic")
	}
	if c.t.Failed() {
		c.t.Logf("%s: the last output of the manager:\n%s", c.way, c.manager.Tail())
	}
}

// exec runs a statement as an administrator on the primary.
func (c *crew) exec(statement string) {
	c.t.Helper()
	conn, err := pgx.Connect(c.t.Context(), c.admin)
	c.Expect(err).NotTo(gomega.HaveOccurred())
	_, err = conn.Exec(c.t.Context(), statement)
	c.Expect(err).NotTo(gomega.HaveOccurred())
	c.Expect(conn.Close(c.t.Context())).To(gomega.Succeed())
}

// A row is a row of the table users.
type row struct {
	Username string
	Roles    string
	Failed   int
	Locked   bool
	Created  time.Time
}

// rows returns the table users on a node, by username.
func (c *crew) rows(ctx context.Context, node *testenv.PatroniNode) (map[string]row, error) {
	dsn, err := node.On(c.admin)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	found, err := conn.Query(ctx, `SELECT username, roles::text AS roles, failed_login_attempts AS failed,
		coalesce(locked_until > now() AT TIME ZONE 'UTC', false) AS locked, created_at AS created FROM users`)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(found, pgx.RowToStructByName[row])
	byName := map[string]row{}
	for _, r := range all {
		byName[r.Username] = r
	}
	return byName, err
}

// create creates a ShardingUser without a password.
func (c *crew) create(ctx context.Context, name string) error {
	return c.kube.Create(ctx, &v1alpha1.ShardingUser{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: name},
		Spec:       v1alpha1.ShardingUserSpec{Roles: []v1alpha1.Role{"viewer"}},
	})
}

// member creates a ShardingUser that can log in, and waits until it is ready.
func (c *crew) member(name string) *v1alpha1.ShardingUser {
	c.t.Helper()
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: name}, Data: map[string][]byte{"password": []byte(right)},
	}
	c.Expect(c.kube.Create(c.t.Context(), secret)).To(gomega.Succeed())
	u := &v1alpha1.ShardingUser{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: name},
		Spec: v1alpha1.ShardingUserSpec{
			Roles:    []v1alpha1.Role{"operator"},
			Password: &v1alpha1.PasswordSource{SecretRef: v1alpha1.SecretKeyReference{Name: name}},
		},
	}
	from := time.Now()
	c.Expect(c.kube.Create(c.t.Context(), u)).To(gomega.Succeed())
	c.eventually(soon, func(g gomega.Gomega) { g.Expect(c.reason(name)).To(gomega.Equal(v1alpha1.ReasonSynced)) })
	c.calm = max(c.calm, time.Since(from))
	return u
}

// reason returns the reason of a user's condition Ready for its current spec; "" without one.
func (c *crew) reason(name string) string {
	var u v1alpha1.ShardingUser
	if err := c.kube.Get(c.t.Context(), client.ObjectKey{Namespace: c.namespace, Name: name}, &u); err != nil {
		return err.Error()
	}
	return reasonOf(&u)
}

func reasonOf(u *v1alpha1.ShardingUser) string {
	ready := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.ObservedGeneration != u.Generation {
		return ""
	}
	return ready.Reason
}

// list returns the users with their statuses.
func (c *crew) list(ctx context.Context) ([]v1alpha1.ShardingUser, error) {
	var users v1alpha1.ShardingUserList
	err := c.kube.List(ctx, &users, client.InNamespace(c.namespace))
	return users.Items, err
}

// synced returns the names of the users whose status says Synced.
func (c *crew) synced() (names []string) {
	c.t.Helper()
	users, err := c.list(c.t.Context())
	c.Expect(err).NotTo(gomega.HaveOccurred())
	for _, u := range users {
		if reasonOf(&u) == v1alpha1.ReasonSynced {
			names = append(names, u.Name)
		}
	}
	return names
}

// fails makes this many wrong attempts that are decided. A 503 does not count as an attempt.
func (c *crew) fails(username string, times int) {
	c.t.Helper()
	for decided := 0; decided < times; {
		answer, err := c.manager.LogIn(c.t.Context(), username, wrong)
		c.Expect(err).NotTo(gomega.HaveOccurred())
		c.Expect(answer.Status).To(gomega.BeElementOf(http.StatusUnauthorized, http.StatusServiceUnavailable))
		if answer.Status == http.StatusUnauthorized {
			decided++
		}
	}
}

// metric returns the sum of a metric.
func (c *crew) metric(ctx context.Context, name string) (sum float64) {
	_, body := c.manager.Scrape(ctx, scraper)
	for line := range strings.Lines(body) {
		var value float64
		if !strings.HasPrefix(line, name+" ") && !strings.HasPrefix(line, name+"{") {
			continue
		}
		if _, err := fmt.Sscan(line[strings.LastIndex(line, " ")+1:], &value); err == nil {
			sum += value
		}
	}
	return sum
}

func (c *crew) eventually(within time.Duration, check func(g gomega.Gomega)) {
	c.t.Helper()
	c.Eventually(check).WithTimeout(within).WithPolling(poll).Should(gomega.Succeed(), c.way)
}
