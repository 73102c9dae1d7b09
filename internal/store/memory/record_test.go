// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"fmt"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestAFloodOfNamesLeavesCheckedAttemptsOnRecord(t *testing.T) {
	s := New(time.Now)
	s.Edit("alice", func(*user.Row) *user.Row { return &user.Row{PasswordHash: "hash", Active: true} })
	try := func(username string) {
		attempt := store.Attempt{Username: username, Alias: "digest"}
		if _, err := s.Charge(t.Context(), attempt, store.Limits{Attempts: 5, Duration: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		try("alice")
	}
	for i := range 3 * mostAttempts {
		try(fmt.Sprintf("nobody-%d", i))
	}
	checked := 0
	for _, r := range s.Attempts() {
		if r.Username == "alice" {
			checked++
		}
	}
	if checked != 5 || len(s.Attempts()) > mostAttempts {
		t.Errorf("%d of %d recorded attempts are alice's, want 5 of %d at most", checked, len(s.Attempts()), mostAttempts)
	}
}
