// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// movedAccounts are the manifests of the page's accounts.
const movedAccounts = `
apiVersion: v1
kind: Secret
metadata: {name: alice-password}
stringData: {password: ` + canary + ` alice}
---
apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata: {name: alice}
spec: {roles: [operator], password: {secretRef: {name: alice-password}}}
---
apiVersion: v1
kind: Secret
metadata: {name: bob-password}
stringData: {password: ` + canary + ` bob}
---
apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata: {name: bob}
spec: {roles: [viewer], password: {secretRef: {name: bob-password}}}
`

// in returns the story in another cluster, on the same database and in a namespace of the same name.
func (s *story) in(other *site) *story {
	s.t.Helper()
	there := *s
	there.site = other
	var err error
	there.kube, err = client.New(other.Config(), client.Options{Scheme: scheme})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.Expect(there.kube.Create(s.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}})).To(gomega.Succeed())
	return &there
}

// contexts gives the shell a kubeconfig with these contexts.
func (sh *shell) contexts(stories map[string]*story) {
	sh.s.t.Helper()
	config := clientcmdapi.NewConfig()
	for name, s := range stories {
		path, err := s.site.KubeconfigFor(s.site.Config())
		sh.s.Expect(err).NotTo(gomega.HaveOccurred())
		of, err := clientcmd.LoadFromFile(path)
		sh.s.Expect(err).NotTo(gomega.HaveOccurred())
		current := of.Contexts[of.CurrentContext]
		config.Clusters[name], config.AuthInfos[name] = of.Clusters[current.Cluster], of.AuthInfos[current.AuthInfo]
		config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name, Namespace: s.namespace}
	}
	path := sh.folder + "/kubeconfig"
	sh.s.Expect(clientcmd.WriteToFile(*config, path)).To(gomega.Succeed())
	sh.env = append(sh.env, "KUBECONFIG="+path) // the last one counts
}

// keepLoggingIn logs alice in over and over, until stop, which expects that each login succeeded.
func (p *process) keepLoggingIn(s *story) (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	var wg sync.WaitGroup
	logins := 0
	wg.Go(func() {
		for ctx.Err() == nil {
			answer, err := p.LogIn(context.WithoutCancel(ctx), "alice", canary+" alice")
			if err != nil || answer.Status != http.StatusOK {
				s.t.Errorf("after %d logins: %+v, %v", logins, answer, err)
				return
			}
			logins++
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond): // the pace of a gateway
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
		s.Expect(logins).To(gomega.BeNumerically(">", 5))
	}
}

func TestMoveToAnotherClusterFollowsThePage(t *testing.T) {
	if testing.Short() {
		t.Skip("TestTransferOfARenamedUserFollowsThePage needs no second control plane")
	}
	t.Parallel()
	own, err := newSite(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Stop(); err != nil {
			t.Error(err)
		}
	})
	before := newStory(t)
	after := before.in(own)
	sh := before.newShell()
	sh.contexts(map[string]*story{"old": before, "new": after})
	sh.write("accounts.yaml", movedAccounts)

	former := before.start()
	got := sh.run("", "kubectl", "--context=old", "apply", "-f", "accounts.yaml")
	before.Expect(got.code).To(gomega.BeZero(), got.errOut)
	for _, name := range []string{"alice", "bob"} {
		u := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: before.namespace, Name: name}}
		before.reports(soon, u, v1alpha1.ReasonSynced)
	}
	for range 5 {
		status, _ := former.logIn("bob", canary+" wrong")
		before.Expect(status).To(gomega.Equal(http.StatusUnauthorized))
	}
	rows := map[string]row{"alice": *before.row("alice"), "bob": *before.row("bob")}

	// Both operators are on one database.
	latter := after.start()
	stop := latter.keepLoggingIn(before)
	steps := before.section("moves.md", "Move to another cluster")
	scale := slices.IndexFunc(steps, func(c typed) bool { return strings.Contains(c.command, "scale deployment") })
	before.Expect(scale).To(gomega.BeNumerically(">", 0))
	sh.follow(steps[:scale+1])
	before.Expect(former.Stop(25 * time.Second)).To(gomega.Succeed()) // the Deployment would do this
	before.kubectl("-n", systemNamespace, "scale", "deployment", account, "--replicas=1")
	sh.follow(steps[scale+1:])
	stop()

	unmoved := func() {
		t.Helper()
		for username, want := range rows {
			now := *before.row(username)
			before.Expect(now.Hash).To(gomega.Equal(want.Hash), username)
			before.Expect(now.Created).To(gomega.Equal(want.Created), username)
			before.Expect(now.Active).To(gomega.BeTrue(), username)
		}
		before.Expect(before.row("bob")).To(gomega.HaveValue(gomega.Equal(rows["bob"])), "nobody wrote the row, and the lock is in it")
	}
	unmoved()
	hashes, found := latter.metric("shardinguser_password_hashes_total")
	before.Expect(found).To(gomega.BeTrue())
	before.Expect(hashes).To(gomega.BeZero())
	var events eventsv1.EventList
	before.Expect(after.kube.List(t.Context(), &events, client.InNamespace(after.namespace))).To(gomega.Succeed())
	before.Expect(events.Items).To(gomega.ContainElement(gomega.And(
		gomega.HaveField("Reason", v1alpha1.EventTransferred), gomega.HaveField("Regarding.Name", "alice"))))

	for _, statement := range before.sqlOf("moves.md") {
		moved, err := before.db.Query(t.Context(), statement)
		before.Expect(err).NotTo(gomega.HaveOccurred())
		records, err := pgx.CollectRows(moved, pgx.RowToMap)
		before.Expect(err).NotTo(gomega.HaveOccurred())
		before.Expect(records).To(gomega.ConsistOf(gomega.HaveKeyWithValue("username", "alice"), gomega.HaveKeyWithValue("username", "bob")))
		before.Expect(records[0]["transferred_from"]).To(gomega.ContainSubstring("/" + before.namespace + "/"))
	}

	// The new cluster's resources decide now. The old ones change nothing, also when they are deleted.
	alice := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: after.namespace, Name: "alice"}}
	after.edit(alice, roles("viewer"))
	after.reports(soon, alice, v1alpha1.ReasonSynced)
	before.start()
	left := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: before.namespace, Name: "alice"}}
	before.reports(soon, left, v1alpha1.ReasonUsernameTaken)
	before.delete(left)
	before.gone(soon, left)
	before.Expect(before.row("alice").Roles).To(gomega.MatchJSON(`["viewer"]`))
	unmoved()
	status, _ := latter.logIn("alice", canary+" alice")
	before.Expect(status).To(gomega.Equal(http.StatusOK))
}

func TestTransferOfARenamedUserFollowsThePage(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	p := s.start()
	s.secret("alice-password", canary+" alice")
	alice := s.readyUser("alice", secret("alice-password"), roles("operator"))
	before := *s.row("alice")
	sh := s.newShell()
	renamed := s.user("alice-smith", username("alice"), secret("alice-password"), roles("operator"))
	s.reports(soon, renamed, v1alpha1.ReasonUsernameTaken)

	// While the former resource exists, it keeps the account.
	refused := sh.plugin("transfer", "alice-smith", "--dsn-file=dsn.txt")
	s.Expect(refused.code).To(gomega.Equal(1))
	s.Expect(refused.out).To(gomega.ContainSubstring("its owner " + s.namespace + "/alice exists; delete it first, with spec.deletionPolicy Retain"))
	s.edit(alice, deletion(v1alpha1.DeletionRetain))
	s.reports(soon, alice, v1alpha1.ReasonSynced)
	s.delete(alice)
	s.gone(soon, alice)
	s.reports(soon, renamed, v1alpha1.ReasonRowExists)

	stop := p.keepLoggingIn(s)
	wrong := sh.plugin("transfer", "alice-smith", "--from-name=bob", "--dsn-file=dsn.txt")
	s.Expect(wrong.code).To(gomega.Equal(1))
	s.Expect(wrong.out).To(gomega.ContainSubstring("the owner is shardinguser.sharding.io/alice of the namespace " + s.namespace))
	sh.follow(s.section("moves.md", "Rename a resource, or move it to another namespace"))
	s.reports(soon, renamed, v1alpha1.ReasonSynced)
	stop()
	s.Expect(s.row("alice").Hash).To(gomega.Equal(before.Hash))
	s.Expect(s.row("alice").Created).To(gomega.Equal(before.Created))
	hashes, _ := p.metric("shardinguser_password_hashes_total")
	s.Expect(hashes).To(gomega.BeEquivalentTo(1), "only the first one")
	again := sh.plugin("transfer", "--all", "--dsn-file=dsn.txt")
	s.Expect(again.code).To(gomega.BeZero())
	s.Expect(again.errOut).To(gomega.ContainSubstring("1 users: 0 transferred, 0 refused, 1 already own their accounts."))
}
