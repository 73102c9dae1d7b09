// SPDX-License-Identifier: Apache-2.0

package rows

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/memory"
	"github.com/sharding-system/shardinguser-operator/internal/controller/queue"
)

// oneUser reads a cluster in which alice is the only user.
type oneUser struct{ client.Reader }

func (oneUser) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	var asked client.ListOptions
	asked.ApplyOptions(options)
	if users, ok := list.(*v1alpha1.ShardingUserList); ok && strings.HasSuffix(asked.FieldSelector.String(), "=alice") {
		users.Items = []v1alpha1.ShardingUser{{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "alice"}}}
	}
	return nil
}

func TestReconcilesBeginAfterThePageThatConcernsAUser(t *testing.T) {
	t.Parallel()
	var others []string
	for n := range 2 * queue.Bulk {
		others = append(others, fmt.Sprint("other-", n))
	}
	for name, c := range map[string]struct {
		pages [][]string
		begun bool
		users int
	}{
		"pages of others, and more may come":  {pages: [][]string{others, others}},
		"pages of others, and these were all": {pages: [][]string{others, others, nil}, begun: true},
		"a user in the last page":             {pages: [][]string{others, append(others, "alice"), nil}, begun: true, users: 1},
		"no rows":                             {pages: [][]string{nil}, begun: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := make(chan struct{})
			q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
			defer q.ShutDown()
			s := NewSource(pagedRows{c.pages, told}, oneUser{}, NewBreaker(newStatements(time.Now), nil, time.Now),
				NewPrefetcher(newStatements(time.Now, "alice")), NewRetries(memory.New(time.Now), time.Now, 0), NewLag(func(float64) {}, time.Now))
			if err := s.Start(t.Context(), q); err != nil {
				t.Fatal(err)
			}
			<-told
			if !c.begun {
				select {
				case <-s.begun:
					t.Error("reconciles begin before all rows are known")
				default:
				}
				return
			}
			select {
			case <-s.begun:
			case <-time.After(10 * time.Second):
				t.Fatal("reconciles do not begin")
			}
			if n := q.Len(); n != c.users {
				t.Errorf("%d users are in the queue, want %d", n, c.users)
			}
		})
	}
}

// pagedRows reports pages, one after the other, and closes told after the last one.
type pagedRows struct {
	pages [][]string
	told  chan struct{}
}

func (p pagedRows) Watch(ctx context.Context, changed func([]string), _ func()) {
	for _, page := range p.pages {
		changed(page)
	}
	close(p.told)
	<-ctx.Done()
}
