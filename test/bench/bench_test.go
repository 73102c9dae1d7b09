// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const (
	hashes       = "shardinguser_password_hashes_total"
	comparisons  = "shardinguser_password_comparisons_total"
	statusWrites = "shardinguser_status_writes_total"
	reconciles   = "controller_runtime_reconcile_total"
	queued       = "workqueue_depth"
)

// 1,000 users applied at once: how long until all are Ready, beside what bcrypt alone takes for their passwords on the
// same cores. Then the manager starts anew, finds everything in place, and neither hashes nor writes.
func BenchmarkThousandUsers(b *testing.B) {
	b.Run("a Secret each", func(b *testing.B) {
		thousandUsers(b, func(p *place, n int, password string) []client.Object {
			return []client.Object{
				p.secret(name(n), map[string]string{"password": password}),
				p.account(name(n), name(n), "password"),
			}
		})
	})
	b.Run("one Secret of 1,000 keys", func(b *testing.B) {
		values := map[string]string{}
		thousandUsers(b, func(p *place, n int, password string) []client.Object {
			values[name(n)] = password
			u := p.account(name(n), "all", name(n))
			if n > 0 {
				return []client.Object{u}
			}
			return []client.Object{p.secret("all", values), u}
		})
	})
}

// thousandUsers measures users that objects makes of number and password; the last to be asked for is number 0.
func thousandUsers(b *testing.B, objects func(p *place, n int, password string) []client.Object) {
	b.Helper()
	const users = 1000
	for range b.N {
		p := newPlace(b)
		all := passwords(users)
		var toApply []client.Object
		for n := users - 1; n >= 0; n-- {
			toApply = append(objects(p, n, all[n]), toApply...)
		}

		// Half before and half after, since the machine may be busier at one time than at another.
		pure := pureBcrypt(b, all[:users/2])
		events := p.watch(b)
		begun := time.Now()
		p.create(b, toApply...)
		created := time.Since(begun)
		p.await(b, events, names(users), v1alpha1.ConditionReady, metav1.ConditionTrue)
		ready := time.Since(begun)
		pure += pureBcrypt(b, all[users/2:])

		rows, err := p.hashes(b.Context())
		must(b, err)
		if len(rows) != users {
			b.Errorf("%d rows, want %d", len(rows), users)
		}
		for _, n := range []int{0, users / 2, users - 1} {
			if bcrypt.CompareHashAndPassword([]byte(rows[name(n)]), []byte(all[n])) != nil {
				b.Errorf("the row of %s has another password than its Secret", name(n))
			}
		}
		counted := p.counters(b, hashes, statusWrites)
		if counted[hashes] != users {
			b.Errorf("%v hashes for %d passwords", counted[hashes], users)
		}
		b.ReportMetric(created.Seconds(), "created-s")
		b.ReportMetric(ready.Seconds(), "ready-s")
		b.ReportMetric(pure.Seconds(), "bcrypt-s")
		b.ReportMetric(ready.Seconds()/pure.Seconds(), "ready/bcrypt")
		b.ReportMetric(counted[statusWrites]/users, "writes/user")
		b.ReportMetric(0, "ns/op")

		p.restart(b, users)
		p.clear(b)
		p.stop(b)
	}
}

// restart measures a manager that finds so many users in place.
func (p *place) restart(b *testing.B, users int) {
	b.Helper()
	p.stop(b)
	begun := time.Now()
	p.manager = startManager(b, p.dsn)
	ready := time.Since(begun)
	var counted map[string]float64
	p.within(b, "each user to be looked at", func(ctx context.Context) (ok bool) {
		counted, ok = p.scrape(ctx, reconciles, queued, hashes, comparisons, statusWrites)
		return ok && counted[reconciles] >= float64(users) && counted[queued] == 0
	})
	b.ReportMetric(ready.Seconds(), "restart-ready-s")
	b.ReportMetric(time.Since(begun).Seconds(), "restart-all-looked-at-s")
	for _, counter := range []string{hashes, comparisons, statusWrites} {
		if counted[counter] != 0 {
			b.Errorf("%s is %v after a restart with everything in place, want 0", counter, counted[counter])
		}
	}
}

// One Secret that 100 users share gets a new value: how long until all rows have another hash, beside what bcrypt alone
// takes for 100.
func BenchmarkRotationOfASharedSecret(b *testing.B) {
	const users = 100
	p := newPlace(b)
	toApply := []client.Object{p.secret("shared", map[string]string{"password": rand.Text()})}
	for n := range users {
		toApply = append(toApply, p.account(name(n), "shared", "password"))
	}
	events := p.watch(b)
	p.create(b, toApply...)
	p.await(b, events, names(users), v1alpha1.ConditionReady, metav1.ConditionTrue)

	var pure, changed time.Duration
	for range b.N {
		before, err := p.hashes(b.Context())
		must(b, err)
		pure += pureBcrypt(b, passwords(users/2)) // the other half comes after, as above
		begun := time.Now()
		must(b, p.api.Patch(b.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "shared"},
		}, client.RawPatch("application/merge-patch+json", []byte(`{"stringData":{"password":"`+rand.Text()+`"}}`))))
		p.within(b, "all rows to change", func(ctx context.Context) bool {
			now, err := p.hashes(ctx)
			if err != nil || len(now) != users {
				return false
			}
			for name, hash := range now {
				if hash == before[name] {
					return false
				}
			}
			return true
		})
		changed += time.Since(begun)
		pure += pureBcrypt(b, passwords(users/2))
	}
	b.ReportMetric(changed.Seconds()/float64(b.N), "changed-s")
	b.ReportMetric(pure.Seconds()/float64(b.N), "bcrypt-s")
	b.ReportMetric(changed.Seconds()/pure.Seconds(), "changed/bcrypt")
	b.ReportMetric(0, "ns/op")
	p.clear(b)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
