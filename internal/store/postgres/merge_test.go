// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// failures is an outage in which each of these accounts had one.
func failures(id string, usernames ...string) store.OfflineBatch {
	outage := store.OfflineBatch{ID: id}
	for _, username := range usernames {
		outage.Accounts = append(outage.Accounts, store.OfflineActivity{Username: username, Failures: 1})
	}
	return outage
}

func TestReplicasThatMergeAtOnceAllCountWhateverTheirIsolation(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	stores := replicas(t, dsn, with(dsn, "default_transaction_isolation=repeatable%20read"),
		with(dsn, "default_transaction_isolation=serializable"))
	pool := connect(t, dsn)
	run(t, pool, "INSERT INTO users (username, password_hash) SELECT 'user-' || n, 'hash' FROM generate_series(0, 9) n")
	var all sync.WaitGroup
	for i, s := range stores {
		for n := range 10 {
			outage := store.OfflineBatch{ID: fmt.Sprintf("%d-%d", i, n)}
			for user := range 10 {
				outage.Accounts = append(outage.Accounts, store.OfflineActivity{Username: fmt.Sprintf("user-%d", (user*3+n)%10), Failures: 1})
			}
			for range 2 { // as a caller that does not know whether it succeeded
				all.Go(func() {
					if err := s.Merge(t.Context(), outage, store.Limits{Attempts: 30, Duration: time.Hour}); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
	all.Wait()
	if n := value[int](t, pool, "SELECT count(*) FROM users WHERE failed_login_attempts = 30 AND locked_until > now()"); n != 10 {
		t.Errorf("%d accounts have all failures and a lock, want 10", n)
	}
}

func TestAMergeThatWaitedForAnotherProgramAddsToWhatThatOneLeft(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		sql    string
		failed int
		locked string // the lock that is left, in minutes
	}{
		"a failure more":      {"UPDATE users SET failed_login_attempts = failed_login_attempts + 1", 5, "15"},
		"a clean counter":     {"UPDATE users SET failed_login_attempts = 0", 1, ""},
		"a lock":              {"UPDATE users SET locked_until = now() + INTERVAL '1 hour'", 4, "60"},
		"a lock forever":      {"UPDATE users SET locked_until = 'infinity'", 4, "infinity"},
		"a lock that expired": {"UPDATE users SET locked_until = now()", 1, ""},
		"nothing new":         {"SELECT FROM users FOR UPDATE", 4, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := databaseWithSchema(t)
			s := ready(t, quick(dsn))
			pool := connect(t, dsn)
			run(t, pool, "INSERT INTO users (username, password_hash, failed_login_attempts) VALUES ('alice', 'hash', 3)")
			tx := hold(t, pool, tt.sql)
			call := start(func() (struct{}, error) {
				return struct{}{}, s.Merge(t.Context(), failures("1", "alice", "bob"), usual)
			})
			waits(t, pool, 1)
			commit(t, tx)
			if _, err := call.wait(t); err != nil {
				t.Fatal(err)
			}
			if failed := value[int](t, pool, "SELECT failed_login_attempts FROM users"); failed != tt.failed {
				t.Errorf("the counter is %d, want %d", failed, tt.failed)
			}
			locked := value[string](t, pool, `SELECT CASE WHEN locked_until = 'infinity' THEN 'infinity'
				ELSE COALESCE(round(EXTRACT(epoch FROM locked_until - now()) / 60)::text, '') END FROM users`)
			if locked != tt.locked {
				t.Errorf("%q minutes of the lock are left, want %q", locked, tt.locked)
			}
		})
	}
}

func TestAMergeAndAProgramThatWaitForEachOtherBothCount(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, insertActive, "alice")
	run(t, pool, insertActive, "bob")
	const failure = "UPDATE users SET failed_login_attempts = failed_login_attempts + 1 WHERE username = "
	tx := hold(t, pool, failure+"'bob'")
	call := start(func() (struct{}, error) {
		return struct{}{}, s.Merge(t.Context(), failures("1", "bob", "alice"), usual)
	})
	waits(t, pool, 1)
	want := 2
	if _, err := tx.Exec(t.Context(), failure+"'alice'"); err == nil {
		commit(t, tx)
	} else { // the server chose the other one to give way
		_ = tx.Rollback(t.Context())
		want = 1
	}
	if _, err := call.wait(t); err != nil {
		t.Fatal(err)
	}
	if n := value[int](t, pool, "SELECT count(*) FROM users WHERE failed_login_attempts = $1", want); n != 2 {
		t.Errorf("%d accounts have %d failures, want 2", n, want)
	}
}

func TestAMergeWhoseAnswerIsLostIsMergedOnceWhenItIsTriedAgain(t *testing.T) {
	t.Parallel()
	direct := databaseWithSchema(t)
	proxy, dsn := testenv.DatabaseProxy(t, direct)
	settings := quick(dsn)
	settings.StatementTimeout = 2 * time.Second
	s := open(t, settings)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	pool := connect(t, direct)
	run(t, pool, insertActive, "alice")
	outage := failures("1", "alice")
	outage.Attempts = []store.Record{{Time: time.Now(), Username: "alice", Outcome: store.Failed}}

	tx := hold(t, pool, "SELECT FROM users FOR UPDATE")
	call := start(func() (struct{}, error) { return struct{}{}, s.Merge(t.Context(), outage, usual) })
	waits(t, pool, 1)
	proxy.Stall()
	commit(t, tx)
	if _, err := call.wait(t); unsent(t, err) {
		t.Errorf("it is said to be unsent: %v", err)
	}
	proxy.Restore()
	eventually(t, "it is merged", func() bool { return s.Merge(t.Context(), outage, usual) == nil })
	failed := value[int](t, pool, "SELECT failed_login_attempts FROM users")
	if records := value[int](t, pool, "SELECT count(*) FROM login_attempts"); failed != 1 || records != 1 {
		t.Errorf("the counter is %d with %d records, want 1 and 1", failed, records)
	}
}

func TestAnAccountThatABatchNamesTwiceHasItsSum(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, insertActive, "alice")
	early, late := time.Now().Add(-time.Hour), time.Now().Add(time.Hour).Truncate(time.Microsecond)
	outage := store.OfflineBatch{ID: "1", Accounts: []store.OfflineActivity{
		{Username: "alice", Failures: 1, LockedUntil: &late}, {Username: "alice", Failures: 2, LastLogin: &early},
	}}
	if err := s.Merge(t.Context(), outage, usual); err != nil {
		t.Fatal(err)
	}
	o, err := s.Observe(t.Context(), "alice")
	if err != nil || o.Row.FailedLoginAttempts != 3 || !o.Row.LockedUntil.Equal(late) || o.Row.LastLogin == nil {
		t.Errorf("observed %+v, %v", o.Row, err)
	}
}

func TestADatabaseWithoutUTF8MergesTheRest(t *testing.T) {
	t.Parallel()
	dsn := with(testenv.Database(t), "client_encoding=UTF8")
	_, database := names(t, dsn)
	admin := connect(t, testenv.Server(t).DSN())
	run(t, admin, "DROP DATABASE "+database)
	run(t, admin, "CREATE DATABASE "+database+" TEMPLATE template0 LOCALE 'C' ENCODING 'LATIN1'")
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, insertActive, "Ünal")
	run(t, pool, insertActive, "admin")
	outage := failures("1", "Ünal", "аdmin", "admin", "日本")
	for _, username := range []string{"Ünal", "日本"} {
		outage.Attempts = append(outage.Attempts, store.Record{Time: time.Now(), Username: username, Outcome: store.Failed})
	}
	for range 2 {
		if err := s.Merge(t.Context(), outage, usual); err != nil {
			t.Fatal(err)
		}
	}
	if n := value[int](t, pool, "SELECT sum(failed_login_attempts) FROM users"); n != 2 {
		t.Errorf("%d failures were counted, want 2", n)
	}
	recorded := value[[]string](t, pool, "SELECT array_agg(username::text ORDER BY id) FROM login_attempts")
	if want := []string{"Ünal", `\u65e5\u672c`}; strings.Join(recorded, " ") != strings.Join(want, " ") {
		t.Errorf("recorded are %q, want %q", recorded, want)
	}
}

func TestWhatWasMergedMoreThanADayAgoIsForgottenByLaterMerges(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	merge := func(id string) {
		t.Helper()
		if err := s.Merge(t.Context(), failures(id, "alice"), usual); err != nil {
			t.Fatal(err)
		}
	}
	merge("old")
	merge("new")
	run(t, pool, "UPDATE shardinguser_merges SET merged_at = now() - INTERVAL '25 hours' WHERE id = 'old'")
	merge("newest")
	left := value[[]string](t, pool, "SELECT array_agg(id ORDER BY id) FROM shardinguser_merges")
	if strings.Join(left, " ") != "new newest" {
		t.Errorf("left are %q", left)
	}
}

func TestTheTableOfMergesIsCreatedAgainWhenItIsDropped(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, insertActive, "alice")
	run(t, pool, "DROP TABLE shardinguser_merges")
	eventually(t, "an outage is merged", func() bool {
		err := s.Merge(t.Context(), failures("1", "alice"), usual)
		if err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		return err == nil
	})
	eventually(t, "it is back", func() bool { return s.Health().Up() && !s.Health().Unavailable })
	if n := value[int](t, pool, "SELECT failed_login_attempts FROM users"); n != 1 {
		t.Errorf("the counter is %d, want 1", n)
	}
}

func TestAnUpgradeAddsTheTableOfMergesToWhatIsThere(t *testing.T) {
	t.Parallel()
	dsn := testenv.Database(t)
	if err := open(t, quick(dsn)).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	pool := connect(t, dsn)
	run(t, pool, insertActive, "alice")
	run(t, pool, "DROP TABLE shardinguser_merges")
	run(t, pool, "DELETE FROM shardinguser_migrations WHERE version_id = 3")
	s := open(t, quick(dsn))
	away := awayMeanwhile(s, func() {
		background(t, func(ctx context.Context) { _ = s.Maintain(ctx) })
		eventually(t, "an outage is merged", func() bool { return s.Merge(t.Context(), failures("1", "alice"), usual) == nil })
	})
	if away {
		t.Error("it was unavailable meanwhile")
	}
}
