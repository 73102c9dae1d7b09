// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/controller/memory"
)

// A reconcile that succeeds forgets its backoff. So a failed record must not wait for others, successfully, before each retry.
func TestOnlyTheFirstLookAtAVersionLetsOthersGoFirst(t *testing.T) {
	r := &Reconciler{unchanged: memory.NewSlot[string](memory.New(time.Now), 0)}
	u := resource("uid", "1")
	for i, tt := range []struct {
		version string
		isFirst bool
	}{{"a", true}, {"a", false}, {"a", false}, {"b", true}, {"b", false}} {
		if got := r.isFirst(u, tt.version); got != tt.isFirst {
			t.Errorf("look %d at the version %s is the first: %v", i, tt.version, got)
		}
	}
}
