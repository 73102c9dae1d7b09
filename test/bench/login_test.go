// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const (
	cpuSeconds = "process_cpu_seconds_total"
	databaseUp = "shardinguser_database_up"
	recognized = "shardinguser_login_recognized_total"

	right = "the right password"
	wrong = "a wrong password"

	// Of the manager: all clients here have one address.
	unlimited = "--login-source-rate=0"
)

// clients is how many ask at once: more than there are cores, fewer than may wait for one.
func clients() int { return 8 * runtime.GOMAXPROCS(0) }

// newLoginPlace is a place with so many users who have the right password, and a watch.
func newLoginPlace(b *testing.B, users int, args ...string) (*place, <-chan watch.Event) {
	b.Helper()
	p := newPlace(b, append(args, unlimited)...)
	var toApply []client.Object
	for _, name := range names(users) {
		toApply = append(toApply, p.account(name, "", ""))
	}
	p.create(b, toApply...)
	events := p.watch(b) // not before: the API server gives up who does not keep up with so many changes at once
	p.await(b, events, names(users), v1alpha1.ConditionReady, metav1.ConditionTrue)
	p.change(b, `UPDATE users SET password_hash = $1`, hashOf(b, right))
	return p, events
}

func hashOf(b *testing.B, password string) string {
	b.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	must(b, err)
	return string(hash)
}

// atOnce does n things, so many at once, and tells how long that took.
func atOnce(b *testing.B, limit, n int, do func(ctx context.Context, i int) error) time.Duration {
	b.Helper()
	begun := time.Now()
	group, ctx := errgroup.WithContext(b.Context())
	group.SetLimit(limit)
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	must(b, group.Wait())
	return time.Since(begun)
}

// expect makes an error of an answer that has another status.
func expect(status int, answer testenv.Answer, err error) error {
	if err == nil && answer.Status != status {
		err = fmt.Errorf("status %d, want %d", answer.Status, status)
	}
	return err
}

// Right passwords, many at once, each with its bcrypt: how many log-ins a second, beside what bcrypt alone does on all
// cores, and what a log-in costs the manager, beside what a bcrypt costs.
func BenchmarkLogIns(b *testing.B) {
	const (
		users  = 200
		rounds = 9 // since the machine may be busier at one time than at another
		logIns = 80
	)
	p, _ := newLoginPlace(b, users)
	logIn := func(ctx context.Context, i int) error {
		answer, err := p.LogIn(ctx, name(i%users), right)
		return expect(http.StatusOK, answer, err)
	}
	atOnce(b, clients(), clients(), logIn) // connects

	var took, pure, cpu, pureCPU float64 // seconds
	var shares []float64
	for range rounds * b.N {
		own := ownCPU(b)
		hashing := pureBcrypt(b, passwords(logIns)).Seconds()
		pureCPU += ownCPU(b) - own

		before := p.counters(b, cpuSeconds, comparisons)
		loggingIn := atOnce(b, clients(), logIns, logIn).Seconds()
		after := p.counters(b, cpuSeconds, comparisons)
		cpu += after[cpuSeconds] - before[cpuSeconds]
		pure, took, shares = pure+hashing, took+loggingIn, append(shares, hashing/loggingIn)
		if compared := after[comparisons] - before[comparisons]; compared != logIns {
			b.Errorf("%v comparisons for %d log-ins", compared, logIns)
		}
	}
	all := float64(logIns * rounds * b.N)
	b.ReportMetric(all/took, "logins/s")
	b.ReportMetric(all/pure, "bcrypts/s")
	slices.Sort(shares)
	b.ReportMetric(shares[len(shares)/2], "median-share")
	b.ReportMetric(cpu/pureCPU, "login-cpu/bcrypt-cpu")
	b.ReportMetric(0, "ns/op")
	p.clear(b)
}

// ownCPU is the CPU time of this process until now, in seconds.
func ownCPU(b *testing.B) float64 {
	b.Helper()
	var usage syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

// What a gateway asks on every request, of users who passed lately: requests for each second of the manager's CPU time,
// beside those that it merely refuses as 404, and requests a second with clients and servers on the same cores.
func BenchmarkVerify(b *testing.B) {
	const (
		users    = 100
		rounds   = 5 // as above
		requests = 4000
	)
	p, _ := newLoginPlace(b, users, "--verify-cache-ttl=1h")
	basic, bearer := make([]string, users), make([]string, users)
	atOnce(b, clients(), users, func(ctx context.Context, i int) error {
		basic[i] = "Basic " + base64.StdEncoding.EncodeToString([]byte(name(i)+":"+right))
		answer, err := p.LogIn(ctx, name(i), right) // and so is known from now on
		var body struct{ Token string }
		if err := expect(http.StatusOK, answer, err); err != nil {
			return err
		}
		err = json.Unmarshal([]byte(answer.Body), &body)
		bearer[i] = "Bearer " + body.Token
		return err
	})
	verify := func(credentials []string) func(context.Context, int) error {
		return func(ctx context.Context, i int) error {
			answer, err := p.Verify(ctx, credentials[i%users])
			if who := answer.Header.Get("X-Auth-Username"); err == nil && who != name(i%users) {
				return fmt.Errorf("verify took %s for %q, with status %d", name(i%users), who, answer.Status)
			}
			return err
		}
	}
	kinds := []struct {
		name      string
		ask       func(context.Context, int) error
		took, cpu float64 // seconds
	}{
		{name: "basic", ask: verify(basic)},
		{name: "bearer", ask: verify(bearer)},
		{name: "404", ask: func(ctx context.Context, _ int) error {
			answer, err := p.Ask(ctx, http.MethodGet, "/", "", "")
			return expect(http.StatusNotFound, answer, err)
		}},
	}
	begun := p.counters(b, recognized, comparisons)
	for range rounds * b.N {
		for i := range kinds {
			before := p.counters(b, cpuSeconds)
			kinds[i].took += atOnce(b, clients(), requests, kinds[i].ask).Seconds()
			kinds[i].cpu += p.counters(b, cpuSeconds)[cpuSeconds] - before[cpuSeconds]
		}
	}
	ended := p.counters(b, recognized, comparisons)
	all := float64(requests * rounds * b.N)
	if compared := ended[comparisons] - begun[comparisons]; compared != 0 {
		b.Errorf("%v comparisons, want 0", compared)
	}
	if known := ended[recognized] - begun[recognized]; known != all {
		b.Errorf("%v were recognised by their passwords, want %v", known, all)
	}
	for _, kind := range kinds {
		b.ReportMetric(all/kind.cpu, kind.name+"/cpu-s")
		b.ReportMetric(all/kind.took, kind.name+"/s")
	}
	b.ReportMetric(kinds[0].cpu/kinds[2].cpu, "basic/404")
	b.ReportMetric(kinds[1].cpu/kinds[2].cpu, "bearer/404")
	b.ReportMetric(0, "ns/op")
	p.clear(b)
}
