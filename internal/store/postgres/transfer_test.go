// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

func TestTransferMovesTheRecordAlone(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s, pool := ready(t, quick(dsn)), connect(t, dsn)
	observe := func(username string) user.Observed {
		t.Helper()
		o, err := s.Observe(t.Context(), username)
		if err != nil || o.Ownership == nil {
			t.Fatalf("Observe = %+v, %v", o.Ownership, err)
		}
		return o
	}
	for _, username := range []string{"alice", "bob"} {
		change := creation(username)
		change.Password = &user.PasswordChange{Hash: "!", Version: "v1", New: true, Digest: "digest"}
		if err := applied(t, s, change); err != nil {
			t.Fatal(err)
		}
	}
	run(t, pool, "UPDATE users SET failed_login_attempts = 3")
	before := observe("alice")
	former := store.Scope{Cluster: before.Ownership.Owner.Cluster, System: before.Ownership.Owner.System}
	here := user.Owner{Cluster: "here", System: "orders", Namespace: "team-b", Name: "alice", UID: "2"}
	transfer := func(revision int64) []string {
		t.Helper()
		moved, err := s.Transfer(t.Context(), []store.Transfer{
			{Username: "alice", Revision: revision, To: here},
			{Username: "nobody", Revision: 1, To: here},
		})
		if err != nil {
			t.Fatal(err)
		}
		return moved
	}

	// The former operator is alive.
	if err := s.MarkAlive(t.Context(), former, "a"); err != nil {
		t.Fatal(err)
	}
	if alive, err := s.IsAlive(t.Context(), former); !alive || err != nil {
		t.Errorf("IsAlive = %v, %v", alive, err)
	}
	if moved := transfer(before.Ownership.Revision); len(moved) != 0 {
		t.Errorf("%v moved while the operator is alive", moved)
	}
	if alive, err := s.IsAlive(t.Context(), store.Scope{Cluster: former.Cluster, System: "another"}); alive || err != nil {
		t.Errorf("IsAlive of another system = %v, %v", alive, err)
	}

	// It was killed.
	run(t, pool, "UPDATE shardinguser_probes SET probed_at = now() - interval '61 seconds'")
	if alive, err := s.IsAlive(t.Context(), former); alive || err != nil {
		t.Errorf("IsAlive = %v, %v", alive, err)
	}
	// It runs again, and is stopped.
	if err := s.MarkAlive(t.Context(), former, "a"); err != nil {
		t.Fatal(err)
	}
	// So does another process, for other namespaces.
	if err := s.MarkAlive(t.Context(), former, "b"); err != nil {
		t.Fatal(err)
	}
	if err := s.MarkStopped(t.Context(), former, "a"); err != nil {
		t.Fatal(err)
	}
	if alive, err := s.IsAlive(t.Context(), former); !alive || err != nil {
		t.Errorf("IsAlive = %v, %v, while another process runs", alive, err)
	}
	if err := s.MarkStopped(t.Context(), former, "b"); err != nil {
		t.Fatal(err)
	}
	if moved := transfer(before.Ownership.Revision + 1); len(moved) != 0 {
		t.Errorf("%v moved on another revision", moved)
	}
	if moved := transfer(before.Ownership.Revision); !slices.Equal(moved, []string{"alice"}) {
		t.Errorf("%v moved, want alice", moved)
	}

	after := observe("alice")
	if after.Ownership.Owner != here || after.Ownership.Generation != 0 || after.Ownership.Revision == before.Ownership.Revision {
		t.Errorf("the record is %+v", after.Ownership)
	}
	own := *after.Ownership
	own.Owner, own.Generation, own.Revision = before.Ownership.Owner, before.Ownership.Generation, before.Ownership.Revision
	if !own.PasswordChangedAt.Equal(*before.Ownership.PasswordChangedAt) {
		t.Errorf("the password's time is %v", own.PasswordChangedAt)
	}
	own.PasswordChangedAt = before.Ownership.PasswordChangedAt
	if own != *before.Ownership {
		t.Errorf("the rest of the record is %+v, want %+v", own, *before.Ownership)
	}
	if after.Row.PasswordHash != before.Row.PasswordHash || after.Row.FailedLoginAttempts != 3 {
		t.Errorf("the row is %+v", after.Row)
	}
	if bob := observe("bob").Ownership; bob.Owner.Cluster != former.Cluster {
		t.Errorf("another record moved: %+v", bob)
	}
	var from string
	if err := pool.QueryRow(t.Context(), "SELECT transferred_from FROM shardinguser_ownership WHERE transferred_at > now() - interval '1 minute'").Scan(&from); err != nil {
		t.Fatal(err)
	}
	if want := former.Cluster + "/" + former.System + "/" + before.Ownership.Owner.Namespace + "/" + before.Ownership.Owner.Name; from != want {
		t.Errorf("the record was transferred from %q, want %q", from, want)
	}

	changes, err := s.Changes(t.Context(), store.ChangeQuery{Actions: []user.Action{user.ActionTransferred}})
	if err != nil || len(changes) != 1 {
		t.Fatalf("the recorded transfers are %+v, %v; want one", changes, err)
	}
	if c := changes[0]; c.Username != "alice" || c.Owner != here || c.Reason != "from "+from || c.OldActive == nil || *c.OldActive != *c.NewActive {
		t.Errorf("the transfer is recorded as %+v", c)
	}

	// The former operator takes nothing back.
	change := creation("alice")
	change.Verb, change.Revision = user.Update, before.Ownership.Revision
	if err := applied(t, s, change); err == nil {
		t.Error("the former owner wrote the row")
	}
}

// The right to write users says nothing about the table of signs of life, and the other way round.
func TestASignOfLifeSaysNothingAboutTheHealth(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s, pool := ready(t, quick(dsn)), connect(t, dsn)
	scope := store.Scope{Cluster: "here"}
	run(t, pool, "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "+
		"$$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$")
	const refuse = "CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE OR DELETE ON %s EXECUTE FUNCTION full_disk()"
	run(t, pool, fmt.Sprintf(refuse, "shardinguser_probes"))
	if err := s.MarkAlive(t.Context(), scope, "a"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("MarkAlive = %v", err)
	}
	if health := s.Health(); health.Writing != nil || !health.Up() {
		t.Errorf("a sign of life that failed makes the health %+v", health)
	}
}

func TestTheControllersRoleTransfersAndShowsThatItIsAlive(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	migrated(t, admin)
	controller, login := testenv.TwoRoles(t, admin)
	s := openPair(t, controller, login, nil).controller
	after, err := s.Apply(t.Context(), creation("alice"))
	if err != nil {
		t.Fatal(err)
	}
	own := after.Ownership
	scope := store.Scope{Cluster: own.Owner.Cluster}
	for range 2 {
		if err := s.MarkAlive(t.Context(), scope, "a"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.MarkStopped(t.Context(), scope, "a"); err != nil {
		t.Fatal(err)
	}
	to := user.Owner{Cluster: "here", Namespace: "team-b", Name: "alice", UID: "2"}
	moved, err := s.Transfer(t.Context(), []store.Transfer{{Username: "alice", Revision: own.Revision, To: to}})
	if err != nil || len(moved) != 1 {
		t.Errorf("Transfer = %v, %v", moved, err)
	}
}
