// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// update returns a change of the roles of an account that creation made.
func update(t *testing.T, s *Store, username string, roles ...string) user.Change {
	t.Helper()
	o, err := s.Observe(t.Context(), username)
	if err != nil || o.Ownership == nil {
		t.Fatalf("Observe = %+v, %v", o, err)
	}
	change := creation(username)
	change.Verb, change.Revision, change.Generation = user.Update, o.Ownership.Revision, o.Ownership.Generation+1
	change.Roles, change.Write = roles, []user.Field{user.FieldRoles}
	return change
}

// changesOf returns the recorded changes of a username, the latest first.
func changesOf(t *testing.T, s *Store, username string) []store.AccountChange {
	t.Helper()
	changes, err := s.Changes(t.Context(), store.ChangeQuery{Username: username})
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

func TestAnotherProgramsTriggerDoesNotMakeTheRecordWrong(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		timing, body string
		deactivate   bool     // instead of the change of roles
		want         []string // the recorded roles; nil if there is no record
	}{
		"one that changes the values": {"BEFORE UPDATE", `NEW.roles := '["viewer"]'; RETURN NEW;`, false, []string{"viewer"}},
		"one that skips the row":      {"BEFORE UPDATE", "RETURN NULL;", false, nil},
		"one that keeps the row":      {"BEFORE UPDATE", "RETURN OLD;", false, nil},
		"one that rejects the row":    {"BEFORE UPDATE", "RAISE EXCEPTION 'no';", false, nil},
		"one that undoes an end": {
			"AFTER UPDATE", "UPDATE users SET active = true WHERE username = NEW.username AND NOT active; RETURN NULL;", true, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := databaseWithSchema(t)
			s := ready(t, quick(dsn))
			if err := applied(t, s, creation("alice")); err != nil {
				t.Fatal(err)
			}
			run(t, connect(t, dsn), trigger("meddle", tt.timing, tt.body))
			change := update(t, s, "alice", "admin")
			if tt.deactivate {
				change.Verb, change.Write = user.Deactivate, nil
			}
			_ = applied(t, s, change) // what is recorded counts
			changes := changesOf(t, s, "alice")
			if tt.want == nil {
				if len(changes) != 1 {
					t.Errorf("recorded: %+v, want the creation alone", changes)
				}
				return
			}
			if len(changes) != 2 || !slices.Equal(changes[0].NewRoles, tt.want) {
				t.Errorf("recorded: %+v, want the roles %v", changes, tt.want)
			}
		})
	}
}

// The plan was made before another program changed the row, and the statement began before that was committed.
func TestTheValuesBeforeAreThoseThatTheChangeReplaced(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s, pool := ready(t, quick(dsn)), connect(t, dsn)
	if err := applied(t, s, creation("alice")); err != nil {
		t.Fatal(err)
	}
	change := update(t, s, "alice", "operator")
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `UPDATE users SET roles = '["admin"]', active = false`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- applied(t, s, change) }()
	eventually(t, "the change waits for the row", func() bool {
		return value[bool](t, pool, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())")
	})
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	c := changesOf(t, s, "alice")[0]
	if !slices.Equal(c.OldRoles, []string{"admin"}) || *c.OldActive || !slices.Equal(c.NewRoles, []string{"operator"}) || *c.NewActive {
		t.Errorf("recorded: %+v, from %v to %v", c, *c.OldActive, *c.NewActive)
	}
}

func TestEachRecordIsAnnouncedAsItIs(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	settings := quick(dsn)
	var announced []store.AccountChange
	settings.Changed = func(c store.AccountChange) { announced = append(announced, c) }
	s := ready(t, settings)
	made := creation("alice")
	made.Origin.Managers.Spec = "argocd"
	for _, change := range []func() user.Change{
		func() user.Change { return made },
		func() user.Change { return update(t, s, "alice", "admin") },
		func() user.Change {
			c := update(t, s, "alice")
			c.Unlock, c.ClearLockout, c.Write = "now", true, nil
			return c
		},
		func() user.Change { c := update(t, s, "alice"); c.Verb = user.Delete; return c },
	} {
		if err := applied(t, s, change()); err != nil {
			t.Fatal(err)
		}
	}
	if err := applied(t, s, made); !errors.Is(err, store.ErrConflict) {
		t.Errorf("got %v, want a conflict", err)
	}
	changes := changesOf(t, s, "alice")
	slices.Reverse(changes)
	if len(changes) != 4 || !reflect.DeepEqual(announced, changes) {
		t.Errorf("announced:\n%+v\nrecorded:\n%+v", announced, changes)
	}
}

func TestAChangeThatIsKilledLeavesNoRecord(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s, pool := ready(t, quick(dsn)), connect(t, dsn)
	if err := applied(t, s, creation("alice")); err != nil {
		t.Fatal(err)
	}
	run(t, pool, trigger("slow", "AFTER UPDATE", "PERFORM pg_sleep(60); RETURN NULL;"))
	change := update(t, s, "alice", "admin")
	done := make(chan error, 1)
	go func() { done <- applied(t, s, change) }()
	eventually(t, "the change is half done, and killed", func() bool {
		return value[bool](t, pool, "SELECT COALESCE(bool_or(pg_terminate_backend(pid)), false) FROM pg_stat_activity "+
			"WHERE wait_event = 'PgSleep' AND datname = current_database()")
	})
	if err := <-done; err == nil {
		t.Fatal("the change succeeded")
	}
	if changes := changesOf(t, s, "alice"); len(changes) != 1 {
		t.Errorf("recorded: %+v, want the creation alone", changes)
	}
}

// A change without a record would be worse than one that waits.
func TestNoChangeIsMadeWithoutTheTableOfChangesAndLoginsGoOn(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	pool := connect(t, dsn)
	s := ready(t, quick(dsn))
	if err := applied(t, s, creation("alice")); err != nil {
		t.Fatal(err)
	}
	change := update(t, s, "alice", "admin")
	run(t, pool, "ALTER TABLE account_changes RENAME TO away; ALTER INDEX account_changes_username RENAME TO away_username")
	run(t, pool, "ALTER INDEX account_changes_pkey RENAME TO away_pkey; ALTER INDEX account_changes_changed_at RENAME TO away_changed_at")
	away := awayMeanwhile(s, func() {
		for {
			charge(t, s, "alice")
			err := applied(t, s, change)
			if err == nil {
				return // the table is there again
			}
			if !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("got %v, want an unavailable database", err)
				return
			}
		}
	})
	if away {
		t.Error("the database is said to be unavailable for logins")
	}
	if changes := changesOf(t, s, "alice"); len(changes) != 1 || changes[0].Action != user.ActionRoles {
		t.Errorf("recorded in the new table: %+v", changes)
	}
}

func TestRolesInAColumnOfTextAreRecorded(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	run(t, connect(t, dsn), "ALTER TABLE users ALTER roles DROP DEFAULT, ALTER roles TYPE text")
	if err := applied(t, s, creation("alice")); err != nil {
		t.Fatal(err)
	}
	if err := applied(t, s, update(t, s, "alice", "admin")); err != nil {
		t.Fatal(err)
	}
	if c := changesOf(t, s, "alice")[0]; !slices.Equal(c.OldRoles, []string{}) || !slices.Equal(c.NewRoles, []string{"admin"}) {
		t.Errorf("recorded: %+v", c)
	}
}

func TestRolesThatAnotherProgramMadeVeryLongAreNotRecorded(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	if err := applied(t, s, creation("alice")); err != nil {
		t.Fatal(err)
	}
	run(t, connect(t, dsn), `UPDATE users SET roles = jsonb_build_array(repeat('x', 1000000))`)
	if err := applied(t, s, update(t, s, "alice", "admin")); err != nil {
		t.Fatal(err)
	}
	if c := changesOf(t, s, "alice")[0]; c.OldRoles != nil || !slices.Equal(c.NewRoles, []string{"admin"}) {
		t.Errorf("recorded: %d roles before, %v", len(c.OldRoles), c.NewRoles)
	}
}

func TestTheEstimatedSizeOfChangesIsThatOfTheTable(t *testing.T) {
	t.Parallel()
	for name, rows := range map[string]int{"of a small table": 2000, "of one of which a sample is read": 60_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admin := databaseWithSchema(t)
			controller, login := testenv.TwoRoles(t, admin)
			s, pool := openPair(t, controller, login, nil).controller, connect(t, admin)
			run(t, pool, `INSERT INTO account_changes (`+changeColumns+`)
				SELECT now() - n * INTERVAL '1 second', 'user-' || n, 'roles', '["operator"]', '["operator", "admin"]', true, true, false,
				       gen_random_uuid()::text, '', 'team-' || n % 100, 'user-' || n, gen_random_uuid()::text, 7, 'argocd-controller', ''
				FROM generate_series(1, $1::int) n`, rows)
			size, err := s.ChangesSize(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			actual := value[int64](t, pool, "SELECT pg_total_relation_size('account_changes')")
			t.Logf("%d rows of %d, %d bytes of %d", size.Rows, rows, size.Bytes, actual)
			if ratio := float64(size.Bytes) / float64(actual); ratio < 0.7 || ratio > 1.3 {
				t.Errorf("the estimate is %.2f of the table's size", ratio)
			}
			oldest := value[int64](t, pool, "SELECT min(id) FROM account_changes")
			if n, err := s.TrimChanges(t.Context(), 100); err != nil || n != 100 {
				t.Errorf("%d changes were deleted, %v; want 100", n, err)
			}
			if left := value[int64](t, pool, "SELECT min(id) FROM account_changes"); left != oldest+100 {
				t.Errorf("the oldest left is %d, want %d", left, oldest+100)
			}
			run(t, pool, "DELETE FROM account_changes")
			if size, err = s.ChangesSize(t.Context()); err != nil || size != (store.TrailPart{}) {
				t.Errorf("an empty table has %+v, %v", size, err)
			}
		})
	}
}
