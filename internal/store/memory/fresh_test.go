// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store/memory"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestAStoreIsFreshUntilThereIsARowOrWasANote(t *testing.T) {
	owner := user.Owner{Cluster: "cluster", Namespace: "team", Name: "alice", UID: "uid"}
	apply := func(t *testing.T, s *memory.Store, verb user.Verb, revision int64) {
		t.Helper()
		if _, err := s.Apply(t.Context(), user.Change{Verb: verb, Username: "alice", Owner: owner, Revision: revision}); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		use  func(t *testing.T, s *memory.Store)
		want bool
	}{
		"nothing was done": {func(*testing.T, *memory.Store) {}, true},
		"another program's row is there": {func(_ *testing.T, s *memory.Store) {
			s.Edit("alice", func(*user.Row) *user.Row { return &user.Row{} })
		}, false},
		"a row is ours": {func(t *testing.T, s *memory.Store) {
			t.Helper()
			apply(t, s, user.Create, 0)
		}, false},
		"the only row ever was deleted": {func(t *testing.T, s *memory.Store) {
			t.Helper()
			apply(t, s, user.Create, 0)
			apply(t, s, user.Delete, 1)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := memory.New(time.Now)
			tt.use(t, s)
			if fresh, err := s.Fresh(t.Context()); err != nil || fresh != tt.want {
				t.Errorf("Fresh = %v, %v, want %v", fresh, err, tt.want)
			}
		})
	}
}
