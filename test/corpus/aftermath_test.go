// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// metrics returns the manager's counters, with those of one name summed up.
func metrics(t *testing.T) map[string]float64 {
	t.Helper()
	status, body := manager.Scrape(t.Context(), scraper)
	if status != http.StatusOK {
		t.Fatalf("there are no metrics: %d %s", status, body)
	}
	sums := map[string]float64{}
	for _, match := range metricLine.FindAllStringSubmatch(body, -1) {
		value, err := strconv.ParseFloat(match[3], 64)
		if err != nil {
			t.Fatal(err)
		}
		sums[match[1]] += value
		if match[1] == reconciles && strings.Contains(match[2], `result="requeue_after"`) {
			sums[putOff] += value
		}
	}
	return sums
}

var metricLine = regexp.MustCompile(`(?m)^(\w+)(\{[^}]*\})? ([0-9.e+-]+)$`)

const (
	reconciles   = "controller_runtime_reconcile_total"
	putOff       = reconciles + " with the result requeue_after"
	panics       = "controller_runtime_reconcile_panics_total"
	statusWrites = "shardinguser_status_writes_total"
	hashes       = "shardinguser_password_hashes_total"
)

// quietens checks that the manager comes to rest after so many changes by people, and does no more work than they
// cause: fewer than three reconciles for each cause (the resource, its Secret, its row, its ownership record, the next
// sweep). Delayed reconciles do not count: while the cache lags behind the manager's own writes, it checks again every
// 50 ms without a request.
func quietens(t *testing.T, before map[string]float64, changes int) {
	t.Helper()
	g := gomega.NewWithT(t)
	last := metrics(t)
	g.Eventually(func() (worked float64) {
		now := metrics(t)
		worked, last = now[reconciles]-last[reconciles], now
		return worked
	}).WithTimeout(soon).WithPolling(time.Second).Should(gomega.BeZero(), "there is a second without reconciles")
	const looks, writes = 4, 3
	since := func(name string) float64 { return last[name] - before[name] }
	looked, wrote := since(reconciles)-since(putOff), since(statusWrites)
	t.Logf("%d changes made for %v reconciles, %v more that were put off, and %v status writes", changes, looked, since(putOff), wrote)
	g.Expect(looked).To(gomega.BeNumerically("<=", looks*changes), "reconciles")
	g.Expect(wrote).To(gomega.BeNumerically("<=", writes*changes), "status writes")
	g.Expect(last).To(gomega.HaveKeyWithValue(panics, 0.0))
	g.Expect(manager.Running()).To(gomega.BeTrue())
	if err := checkLog(); err != nil {
		t.Error(err)
	}
}

// newNamespace creates a namespace that is cleared at the end.
func newNamespace(t *testing.T) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "corpus-"}}
	if err := kube.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	return namespace.Name
}

// clearUsers deletes the users of a namespace by force, and waits until they are gone.
func clearUsers(t *testing.T, namespace string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	let := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil,
		`{"metadata":{"annotations":{%q:"true",%q:null}}}`, v1alpha1.AnnotationAllowLastAdministrator, v1alpha1.AnnotationPaused))
	each(users(t, namespace), func(u v1alpha1.ShardingUser) {
		var err error
		if len(u.Annotations) > 0 || slices.Contains(u.Spec.Roles, "admin") {
			err = kube.Patch(ctx, &u, let)
		}
		for _, err := range []error{err, kube.Delete(ctx, &u)} {
			if client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
		}
	})
	gomega.NewWithT(t).Eventually(func() []v1alpha1.ShardingUser { return users(t, namespace) }).
		WithTimeout(soon).WithPolling(poll).Should(gomega.BeEmpty())
}

func users(t *testing.T, namespace string) []v1alpha1.ShardingUser {
	t.Helper()
	var list v1alpha1.ShardingUserList
	if err := kube.List(context.WithoutCancel(t.Context()), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// each calls f for all items, some at once.
func each[T any](items []T, f func(T)) {
	const atOnce = 16
	var all sync.WaitGroup
	next := make(chan T)
	for range atOnce {
		all.Go(func() {
			for item := range next {
				f(item)
			}
		})
	}
	for _, item := range items {
		next <- item
	}
	close(next)
	all.Wait()
}

// A row is a row of the table users.
type row struct {
	Username string
	Hash     string
	Roles    string
	Active   bool
}

// aRowOfOthers is a row of another program that the operator must not change without adoption.
func aRowOfOthers(t *testing.T, username string) row {
	t.Helper()
	r := row{username, aHash, `["kept"]`, true}
	_, err := db.Exec(t.Context(), `INSERT INTO users (username, password_hash, roles, active) VALUES ($1, $2, $3, $4)`,
		r.Username, r.Hash, r.Roles, r.Active)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// cut returns a printable text, shortened.
func cut(text string) string {
	const most = 300
	return strconv.Quote(strings.ToValidUTF8(text[:min(len(text), most)], "?"))
}

// rolesOf returns the row's roles in order; nil if there are none or they are malformed.
func rolesOf(r row) []v1alpha1.Role {
	var roles []v1alpha1.Role
	if json.Unmarshal([]byte(r.Roles), &roles) != nil || len(roles) == 0 {
		return nil
	}
	slices.Sort(roles)
	return roles
}
