// SPDX-License-Identifier: Apache-2.0

package status

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/memory"
)

func resource(uid types.UID, version string) *v1alpha1.ShardingUser {
	return &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{UID: uid, ResourceVersion: version, Generation: 1}}
}

func TestCopyIsStaleWhileItIsOlderThanOurLastWrite(t *testing.T) {
	c := newClock()
	users := memory.New(c.now)
	s := NewStaleness(users)
	if s.IsStale(resource("a", "5")) {
		t.Error("nothing was written, and a copy is stale")
	}
	s.Wrote(resource("a", "10"))
	for _, step := range []struct {
		version string
		older   bool
	}{{"9", true}, {"9", true}, {"10", false}, {"9", false}} {
		// The last one cannot happen, since a cache does not go back; it shows that the write is forgotten by then.
		if got := s.IsStale(resource("a", step.version)); got != step.older {
			t.Errorf("version %s is older: %v", step.version, got)
		}
	}

	s.Wrote(resource("a", "99"))
	if s.IsStale(resource("a", "100")) {
		t.Error("100 is older than 99: versions were compared as texts")
	}
	s.Wrote(resource("a", "99"))
	c.move(catchUpTime)
	if s.IsStale(resource("a", "7")) {
		t.Error("lower versions, after a restore, are waited for forever")
	}
	s.Wrote(resource("a", "99"))
	if s.IsStale(resource("b", "1")) {
		t.Error("another resource is stale")
	}
	users.Forget("a")
	if s.IsStale(resource("a", "1")) || users.Len() != 0 {
		t.Error("a resource that is gone is remembered")
	}
}
