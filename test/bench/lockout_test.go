// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

const (
	// The manager's default is that the fifth failure locks.
	failuresBeforeLast = 4

	// The manager writes at most 20 statuses a second because of what happens at log-in time. Locks one at a time are
	// measured slowly enough for that limit not to show.
	spacing = 150 * time.Millisecond

	lock   = `UPDATE users SET failed_login_attempts = 5, locked_until = now() AT TIME ZONE 'UTC' + interval '15 minutes'`
	unlock = `UPDATE users SET failed_login_attempts = 0, locked_until = NULL`
)

// A lock is written by SQL, as the sharding manager does: how long until a watch shows Locked=True.
func BenchmarkLockToStatus(b *testing.B) {
	const users = 50
	p, events := newLoginPlace(b, users)
	tick := time.NewTicker(spacing)
	defer tick.Stop()
	var delays []time.Duration
	var together time.Duration
	for range b.N {
		for _, name := range names(users) {
			<-tick.C
			begun := time.Now()
			p.change(b, lock+` WHERE username = $1`, name)
			p.await(b, events, []string{name}, v1alpha1.ConditionLocked, metav1.ConditionTrue)
			delays = append(delays, time.Since(begun))
		}
		p.change(b, unlock)
		p.await(b, events, names(users), v1alpha1.ConditionLocked, metav1.ConditionFalse)

		// All in the same moment: now the limit shows, on purpose.
		begun := time.Now()
		p.change(b, lock)
		p.await(b, events, names(users), v1alpha1.ConditionLocked, metav1.ConditionTrue)
		together += time.Since(begun)
		p.change(b, unlock)
		p.await(b, events, names(users), v1alpha1.ConditionLocked, metav1.ConditionFalse)
	}
	slices.Sort(delays)
	b.ReportMetric(milliseconds(delays[len(delays)/2]), "median-ms")
	b.ReportMetric(milliseconds(delays[len(delays)-1]), "worst-ms")
	b.ReportMetric(milliseconds(together)/float64(b.N), "50-at-once-ms")
	b.ReportMetric(0, "ns/op")
	p.clear(b)
}

// The fifth wrong password locks: how long from its answer until a watch shows Locked=True.
func BenchmarkFifthFailureToStatus(b *testing.B) {
	const users = 50
	p, events := newLoginPlace(b, users)
	fail := func(ctx context.Context, username string) error {
		answer, err := p.LogIn(ctx, username, wrong)
		return expect(http.StatusUnauthorized, answer, err)
	}
	tick := time.NewTicker(spacing)
	defer tick.Stop()
	var delays []time.Duration
	for range b.N {
		atOnce(b, clients(), failuresBeforeLast*users, func(ctx context.Context, i int) error {
			return fail(ctx, name(i%users))
		})
		for _, name := range names(users) {
			<-tick.C
			must(b, fail(b.Context(), name))
			begun := time.Now()
			p.await(b, events, []string{name}, v1alpha1.ConditionLocked, metav1.ConditionTrue)
			delays = append(delays, time.Since(begun))
		}
		p.change(b, unlock)
		p.await(b, events, names(users), v1alpha1.ConditionLocked, metav1.ConditionFalse)
	}
	slices.Sort(delays)
	b.ReportMetric(milliseconds(delays[len(delays)/2]), "median-ms")
	b.ReportMetric(milliseconds(delays[len(delays)-1]), "worst-ms")
	b.ReportMetric(0, "ns/op")
	p.clear(b)
}

// A refused is a kind of attempt that nobody must be able to tell from the others.
type refused struct {
	name    string
	values  string // of its rows, $1 their username and $2 the hash of the right password; empty for no rows
	shown   string // the password
	outcome string // on record
}

// Every way to be refused, one attempt at a time and in random order: how far apart the medians of their times are. The
// answers themselves must be the same, and each costs one bcrypt.
func BenchmarkRefusals(b *testing.B) {
	const (
		accounts = 50                            // of each kind; each is tried as often as does not lock it
		each     = accounts * failuresBeforeLast // attempts
	)
	kinds := []refused{
		{"unknown", ``, right, "unknown"},
		{"wrong", `($1, $2, true, NULL)`, wrong, "failed"},
		{"locked", `($1, $2, true, now() AT TIME ZONE 'UTC' + interval '1 day')`, right, "locked"},
		{"inactive", `($1, $2, false, NULL)`, right, "inactive"},
		{"null-hash", `($1, NULLIF($2, $2), true, NULL)`, right, "failed"},
	}
	p := newPlace(b, unlimited)
	p.within(b, "the tables", func(ctx context.Context) bool {
		counted, ok := p.scrape(ctx, databaseUp)
		return ok && counted[databaseUp] == 1
	})
	p.change(b, `ALTER TABLE users ALTER password_hash DROP NOT NULL`) // as the sharding system may
	hash := hashOf(b, right)
	var attempts []int // numbers, each of an account of the kind that is left when it is divided
	for n := range accounts * len(kinds) {
		if values := kinds[n%len(kinds)].values; values != "" {
			p.change(b, `INSERT INTO users (username, password_hash, active, locked_until) VALUES `+values, name(n), hash)
		}
		attempts = append(attempts, slices.Repeat([]int{n}, failuresBeforeLast)...)
	}

	times := make([][]time.Duration, len(kinds))
	answers := map[string]bool{}
	for range b.N {
		p.change(b, `UPDATE users SET failed_login_attempts = 0`)
		before := p.counters(b, comparisons)
		rand.Shuffle(len(attempts), func(i, j int) { attempts[i], attempts[j] = attempts[j], attempts[i] })
		for _, n := range attempts {
			kind := n % len(kinds)
			begun := time.Now()
			answer, err := p.LogIn(b.Context(), name(n), kinds[kind].shown)
			times[kind] = append(times[kind], time.Since(begun))
			must(b, err)
			answer.Header.Del("Date")
			answers[fmt.Sprint(answer)] = true
		}
		if compared := p.counters(b, comparisons)[comparisons] - before[comparisons]; compared != float64(len(attempts)) {
			b.Errorf("%v comparisons for %d attempts", compared, len(attempts))
		}
	}
	if len(answers) != 1 {
		b.Errorf("one can tell the refusals apart: %v", slices.Sorted(maps.Keys(answers)))
	}
	p.recorded(b, kinds, each*b.N)

	var medians []float64
	for i, kind := range kinds {
		slices.Sort(times[i])
		medians = append(medians, milliseconds(times[i][len(times[i])/2]))
		b.ReportMetric(medians[i], kind.name+"-ms")
	}
	b.ReportMetric(slices.Max(medians)/slices.Min(medians), "max/min")
	b.ReportMetric(0, "ns/op")
}

// recorded waits until so many attempts of each kind are on record, with the outcome that they must have.
func (p *place) recorded(b *testing.B, kinds []refused, each int) {
	b.Helper()
	want := map[string]int{}
	for _, kind := range kinds {
		want[kind.outcome] += each
	}
	p.within(b, fmt.Sprintf("the outcomes %v on record", want), func(ctx context.Context) bool {
		rows, err := p.db.Query(ctx, `SELECT outcome, count(*) FROM login_attempts GROUP BY outcome`)
		if err != nil {
			return false
		}
		got := map[string]int{}
		var outcome string
		var n int
		_, err = pgx.ForEachRow(rows, []any{&outcome, &n}, func() error {
			got[outcome] = n
			return nil
		})
		return err == nil && maps.Equal(got, want)
	})
}
