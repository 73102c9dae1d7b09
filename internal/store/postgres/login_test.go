// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

var usual = store.Limits{Attempts: 5, Duration: 15 * time.Minute}

func attempt(username string) store.Attempt {
	return store.Attempt{Username: username, Alias: "digest", Source: "192.0.2.7", UserAgent: "a browser"}
}

// insertActive makes a row that may log in.
const insertActive = "INSERT INTO users (username, password_hash) VALUES ($1, 'hash')"

func charge(t *testing.T, s *Store, username string) store.Charge {
	t.Helper()
	c, err := s.Charge(t.Context(), attempt(username), usual)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// replicas are stores of their own on one database.
func replicas(t *testing.T, dsns ...string) []*Store {
	t.Helper()
	var list []*Store
	for _, dsn := range dsns {
		settings := quick(dsn)
		settings.MaxConns = 8
		settings.StatementTimeout = patience // of a hundred that wait for one row, the last waits for long
		list = append(list, ready(t, settings))
	}
	return list
}

func TestOf100ChargesByFourReplicasFiveAreCheckedAndOneLocks(t *testing.T) {
	t.Parallel()
	for name, parameters := range map[string][4]string{
		"as usual": {},
		"where roles have other isolation levels by default": {
			"default_transaction_isolation=repeatable%20read", "default_transaction_isolation=serializable",
			"default_transaction_isolation=repeatable%20read", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := testenv.Database(t)
			var dsns []string
			for _, p := range parameters {
				dsns = append(dsns, with(dsn, p))
			}
			stores := replicas(t, dsns...)
			pool := connect(t, dsn)
			for _, username := range []string{"alice", "bob", "carol"} {
				run(t, pool, insertActive, username)
				verdicts, locks := chargeAtOnce(t, 100, stores, username, usual)
				if want := map[store.Verdict]int{store.Check: 5, store.Locked: 95}; !maps.Equal(verdicts, want) || locks != 1 {
					t.Errorf("%s: the verdicts are %v, and %d locked; want %v and 1", username, verdicts, locks, want)
				}
			}
			if n := value[int](t, pool, "SELECT count(*) FROM login_attempts"); n != 300 {
				t.Errorf("%d records, want 300", n)
			}
			if n := value[int](t, pool, "SELECT count(*) FROM users JOIN login_attempts USING (username) "+
				"WHERE users.locked_until = login_attempts.locked_until AT TIME ZONE 'UTC' AND outcome = 'pending'"); n != 3 {
				t.Errorf("%d rows have the recorded lock, want 3", n)
			}
		})
	}
}

// chargeAtOnce counts the verdicts of charges that are made at once, and those that wrote a lock.
func chargeAtOnce(t *testing.T, n int, stores []*Store, username string, limits store.Limits) (map[store.Verdict]int, int) {
	t.Helper()
	var (
		mu       sync.Mutex
		all      sync.WaitGroup
		verdicts = map[store.Verdict]int{}
		locks    = 0
		start    = make(chan struct{})
	)
	for i := range n {
		all.Go(func() {
			<-start
			c, err := stores[i%len(stores)].Charge(t.Context(), attempt(username), limits)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			verdicts[c.Verdict]++
			if c.Locks {
				locks++
			}
		})
	}
	close(start)
	all.Wait()
	return verdicts, locks
}

func TestChargesAndFailuresOfAnotherProgramAtOnceAreAllCounted(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	stores := replicas(t, dsn, dsn)
	pool := connect(t, dsn)
	run(t, pool, insertActive, "alice")
	other := start(func() (n int, err error) {
		for ; n < 50 && err == nil; n++ {
			_, err = pool.Exec(t.Context(), "UPDATE users SET failed_login_attempts = failed_login_attempts + 1")
		}
		return n, err
	})
	chargeAtOnce(t, 50, stores, "alice", store.Limits{Attempts: 1000, Duration: time.Minute})
	if _, err := other.wait(t); err != nil {
		t.Fatal(err)
	}
	if failed := value[int](t, pool, "SELECT failed_login_attempts FROM users"); failed != 100 {
		t.Errorf("the counter is %d, want 100", failed)
	}
}

func TestFailuresOnOneReplicaAndAnotherLockOnBothAndAfterARestart(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	one, two := ready(t, quick(dsn)), ready(t, quick(dsn))
	run(t, connect(t, dsn), insertActive, "alice")
	for range 4 {
		charge(t, one, "alice")
	}
	if c := charge(t, two, "alice"); !c.Locks {
		t.Errorf("got %+v, want the lock", c)
	}
	one.Close()
	for _, s := range []*Store{two, ready(t, quick(dsn))} {
		if c := charge(t, s, "alice"); c.Verdict != store.Locked {
			t.Errorf("got %+v, want a refusal", c)
		}
	}
}

func TestADatabaseThatIsNotInUTF8HasNoAccountThatItCannotWrite(t *testing.T) {
	t.Parallel()
	for encoding, parameter := range map[string]string{"LATIN1": "client_encoding=UTF8", "EUC_JP": ""} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			dsn := with(testenv.Database(t), parameter)
			_, database := names(t, dsn)
			admin := connect(t, testenv.Server(t).DSN())
			run(t, admin, "DROP DATABASE "+database)
			run(t, admin, "CREATE DATABASE "+database+" TEMPLATE template0 LOCALE 'C' ENCODING '"+encoding+"'")
			s := ready(t, quick(dsn))
			run(t, connect(t, dsn), insertActive, "admin")
			for username, want := range map[string]store.Verdict{
				"admin": store.Check, "аdmin": store.Unknown, "日本": store.Unknown,
			} {
				a := store.Attempt{Username: username, Alias: "digest", Source: username, UserAgent: username}
				if c, err := s.Charge(t.Context(), a, usual); err != nil || c.Verdict != want {
					t.Errorf("%s: got %+v, %v, want %s", username, c, err, want)
				}
			}
			snapshot, err := s.Snapshot(t.Context(), []string{"x", "аdmin", "y", "日本", "admin", "Ünal", "\x00"})
			if err != nil || len(snapshot) != 7 || snapshot["admin"].Row == nil {
				t.Errorf("the snapshot is %+v, %v", snapshot, err)
			}
			for username, o := range snapshot {
				if !o.Now.Equal(snapshot["admin"].Now) || (o.Row != nil) != (username == "admin") {
					t.Errorf("of %q there is %+v", username, o)
				}
			}
		})
	}
}

func TestAColumnThatRoundsTimesKeepsALockItsOwn(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, "ALTER TABLE users ALTER locked_until TYPE TIMESTAMP(0)")
	run(t, pool, insertActive, "alice")
	var last store.Charge
	for range 5 {
		last = charge(t, s, "alice")
	}
	if accepted, err := s.Settle(t.Context(), last, true); err != nil || !accepted {
		t.Errorf("accepted is %t, %v", accepted, err)
	}
	if value[bool](t, pool, "SELECT locked_until IS NOT NULL FROM users") {
		t.Error("the success did not lift its lock")
	}
}

func TestSeveralReplicasPurgeAtOnce(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	stores := replicas(t, dsn, dsn, dsn)
	pool := connect(t, dsn)
	run(t, pool, "INSERT INTO login_attempts (attempted_at, username, outcome, source, user_agent) "+
		"SELECT now() - n * INTERVAL '1 hour', 'alice', 'failed', '', '' FROM generate_series(1, 1000) n")
	purged := make(chan int)
	for _, s := range stores {
		go func() {
			sum := 0
			for {
				n, err := s.PurgeAttempts(t.Context(), 100*time.Hour+time.Minute, 70)
				if err != nil {
					t.Error(err)
				}
				if sum += n; n == 0 {
					break
				}
			}
			purged <- sum
		}()
	}
	sum := 0
	for range stores {
		sum += <-purged
	}
	if left := value[int](t, pool, "SELECT count(*) FROM login_attempts"); sum != 900 || left != 100 {
		t.Errorf("%d were purged and %d are left, want 900 and 100", sum, left)
	}
}
