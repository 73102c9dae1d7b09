// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// A load logs users in, tries wrong passwords, creates users, and records what a crew's manager answers and reports.
type load struct {
	crew  *crew
	stop  context.CancelFunc
	ended sync.WaitGroup

	mu       sync.Mutex
	answers  map[int]int          // of right logins, by status code
	created  []string             // users
	synced   map[string]time.Time // when a status said so first
	reported map[string]string    // a message of each reason
	began    time.Time            // when the fallback decided first
	over     time.Time            // when it no longer decided
}

// load starts a load on a user whose password is right, and on one that is locked. It ends with the test at the latest.
func (c *crew) load(member, locked string) *load {
	ctx, stop := context.WithCancel(c.t.Context())
	l := &load{crew: c, stop: stop, answers: map[int]int{}, synced: map[string]time.Time{}, reported: map[string]string{}}
	c.t.Cleanup(l.end)
	l.every(ctx, 250*time.Millisecond, func(ctx context.Context) error { return l.logIn(ctx, member, right) })
	l.every(ctx, time.Second, func(ctx context.Context) error { return l.logIn(ctx, locked, wrong) })
	l.every(ctx, 500*time.Millisecond, l.create)
	l.every(ctx, 200*time.Millisecond, l.watch)
	l.every(ctx, 200*time.Millisecond, l.scrape)
	return l
}

func (l *load) end() {
	l.stop()
	l.ended.Wait()
}

// every calls do until the load ends. A slow call delays the next one.
func (l *load) every(ctx context.Context, interval time.Duration, do func(context.Context) error) {
	l.ended.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := do(ctx); err != nil && ctx.Err() == nil {
				l.crew.t.Errorf("%s: %v", l.crew.way, err)
			}
		}
	})
}

func (l *load) logIn(ctx context.Context, username, password string) error {
	answer, err := l.crew.manager.LogIn(ctx, username, password)
	if err != nil {
		return err
	}
	if password != right {
		if answer.Status == http.StatusOK {
			return fmt.Errorf("a wrong password of %s is accepted", username)
		}
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[answer.Status]++
	return nil
}

func (l *load) create(ctx context.Context) error {
	l.mu.Lock()
	name := fmt.Sprintf("new-%03d", len(l.created))
	l.created = append(l.created, name)
	l.mu.Unlock()
	return l.crew.create(ctx, name)
}

func (l *load) watch(ctx context.Context) error {
	users, err := l.crew.list(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, u := range users {
		ready := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil {
			continue
		}
		l.reported[ready.Reason] = ready.Message
		if _, is := l.synced[u.Name]; !is && ready.Reason == v1alpha1.ReasonSynced {
			l.synced[u.Name] = time.Now()
		}
	}
	return nil
}

func (l *load) scrape(ctx context.Context) error {
	active := l.crew.metric(ctx, "shardinguser_fallback_active")
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case active > 0 && l.began.IsZero():
		l.began = time.Now()
	case active > 0:
		l.over = time.Time{}
	case !l.began.IsZero() && l.over.IsZero():
		l.over = time.Now()
	}
	return nil
}

// answered returns how many right logins got this status code.
func (l *load) answered(status int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answers[status]
}

// resumed returns when the first user was synced after this time; the zero time if none was.
func (l *load) resumed(after time.Time) (first time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range l.synced {
		if at.After(after) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// fallback returns when the fallback began to decide logins, and when it stopped; zero times if it did not.
func (l *load) fallback() (began, over time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.began, l.over
}
