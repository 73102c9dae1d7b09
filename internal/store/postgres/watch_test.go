// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/observer"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// listening are settings under which only notifications can report a change in time.
func listening(dsn string) Settings {
	settings := quick(dsn)
	settings.ResyncInterval, settings.PollInterval = time.Hour, time.Hour
	return settings
}

// listeningThroughAProxy is listening, with a proxy before the listening connection alone.
func listeningThroughAProxy(t *testing.T, dsn string) (*testenv.Proxy, Settings) {
	t.Helper()
	proxy, through := testenv.DatabaseProxy(t, dsn)
	settings := listening(dsn)
	settings.ListenDSN = fixed(through)
	return proxy, settings
}

// watched is what a subscriber was told.
type watched struct {
	mu        sync.Mutex
	times     map[string]int // by username
	recovered int
}

// watch watches until the test ends.
func watch(t *testing.T, s *Store) *watched {
	t.Helper()
	w := &watched{times: map[string]int{}}
	background(t, func(ctx context.Context) {
		s.Watch(ctx, w.changed, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.recovered++
		})
	})
	return w
}

func (w *watched) changed(usernames []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, username := range usernames {
		w.times[username]++
	}
}

func (w *watched) of(username string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.times[username]
}

func (w *watched) recoveries() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.recovered
}

func (w *watched) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.times)
}

func (w *watched) told(t *testing.T, username string) {
	t.Helper()
	eventually(t, "the subscriber is notified of "+username, func() bool { return w.of(username) > 0 })
}

// caughtUp waits until no earlier change is reported any more, and forgets all reports: notifications arrive in order, and the next
// sweep reports them again.
func (w *watched) caughtUp(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	run(t, pool, "SELECT pg_notify($1, 'marker')", observer.RowsChannel)
	eventually(t, "the marker is reported twice", func() bool { return w.of("marker") > 1 })
	w.forget()
}

// insert makes a row as another program does.
const insert = "INSERT INTO users (username, password_hash) VALUES ($1, '!')"

// cutListeners ends the connections that listen to the database.
const cutListeners = `
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND (query LIKE 'LISTEN%' OR query LIKE '-- ping')`

func TestChangesAreReportedByNotificationsAlone(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, listening(dsn))
	w := watch(t, s)
	eventually(t, "the store is notifying", notified(s))
	pool := connect(t, dsn)
	run(t, pool, insert, "alice")
	w.told(t, "alice")
	for _, sql := range []string{
		"UPDATE users SET roles = '[\"x\"]'", "UPDATE users SET active = false", "UPDATE users SET password_hash = 'x'",
		"UPDATE users SET locked_until = now()", "TRUNCATE users",
	} {
		w.forget()
		run(t, pool, sql)
		w.told(t, "alice")
	}
	run(t, pool, insert, "alice")
	w.told(t, "alice")
	w.forget()
	run(t, pool, "UPDATE users SET username = 'bob'")
	w.told(t, "alice")
	w.told(t, "bob")
	if _, err := s.Apply(t.Context(), creation("carol")); err != nil {
		t.Fatal(err)
	}
	w.told(t, "carol")
	burial := creation("dave")
	burial.Verb = user.Bury
	if _, err := s.Apply(t.Context(), burial); err != nil {
		t.Fatal(err)
	}
	w.told(t, "dave") // of a name without a row only the notification tells
}

func TestTheTriggerDoesNotNotifyOfColumnsThatChangeWithEveryLogin(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	ready(t, quick(dsn))
	pool := connect(t, dsn)
	listener, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close(context.WithoutCancel(t.Context())) }()
	run(t, pool, insert, "alice")
	if _, err := listener.Exec(t.Context(), "LISTEN "+observer.RowsChannel); err != nil {
		t.Fatal(err)
	}
	run(t, pool, "UPDATE users SET failed_login_attempts = failed_login_attempts + 1, last_login_at = now(), updated_at = now()")
	run(t, pool, insert, "bob")
	notification, err := listener.WaitForNotification(t.Context())
	if err != nil || notification.Payload != "bob" {
		t.Errorf("the first notification is %+v, %v", notification, err)
	}
}

func TestTheTriggerNeverFailsAnotherProgramsWrite(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	ready(t, quick(admin))
	pool := connect(t, admin)
	dsn := testenv.Role(t, admin)
	role, _ := names(t, dsn)
	run(t, pool, "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON users TO "+role)
	run(t, pool, "REVOKE EXECUTE ON FUNCTION pg_notify(text, text) FROM PUBLIC")
	run(t, pool, "REVOKE ALL ON FUNCTION "+schema.TriggerFunction+"() FROM PUBLIC")
	run(t, pool, "ALTER TABLE users ALTER COLUMN username TYPE TEXT")
	other := connect(t, dsn)
	run(t, other, insert, "alice")
	run(t, other, "UPDATE users SET active = false")
	run(t, other, "DELETE FROM users")
	run(t, other, "TRUNCATE users")
	run(t, pool, insert, strings.Repeat("x", 9000)) // longer than a notification can be
	if n := value[int](t, pool, "SELECT count(*) FROM users"); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

func TestAThousandChangesWhileTheListenerIsCutAreAllReported(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	proxy, settings := listeningThroughAProxy(t, dsn)
	s := ready(t, settings)
	w := watch(t, s)
	eventually(t, "the store is notifying", notified(s))

	proxy.Cut()
	pool := connect(t, dsn)
	run(t, pool, "INSERT INTO users (username, password_hash) SELECT 'user-' || n, '!' FROM generate_series(1, 1000) n")
	proxy.Restore()
	for n := range 1000 {
		w.told(t, fmt.Sprintf("user-%d", n+1))
	}
}

func TestARowKnownByANotificationOnlyIsReportedWhenItVanishes(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	proxy, settings := listeningThroughAProxy(t, dsn)
	s := ready(t, settings)
	w := watch(t, s)
	eventually(t, "the store is notifying", notified(s))
	pool := connect(t, dsn)
	run(t, pool, insert, "alice")
	w.told(t, "alice")
	proxy.Cut()
	w.forget()
	run(t, pool, "DELETE FROM users")
	proxy.Restore()
	w.told(t, "alice")
}

func TestAListenerThatTheServerEndsListensAgain(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, listening(dsn))
	w := watch(t, s)
	eventually(t, "the store is notifying", notified(s))
	pool := connect(t, dsn)
	for i := range 3 {
		if cut := value[int](t, pool, cutListeners); cut != 1 {
			t.Errorf("%d listeners were cut, want 1", cut)
		}
		username := fmt.Sprintf("user-%d", i)
		run(t, pool, insert, username)
		w.told(t, username)
		eventually(t, "the store is notifying", notified(s))
	}
}

func TestAListenerThatTheNetworkForgotIsFoundOut(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	proxy, settings := listeningThroughAProxy(t, dsn)
	settings.PollInterval = 50 * time.Millisecond
	s := open(t, settings)
	s.observer.Timing.KeepAlive, s.observer.Timing.Ping = 100*time.Millisecond, 100*time.Millisecond
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := watch(t, s)
	eventually(t, "the store is notifying", notified(s))

	proxy.Stall()
	run(t, connect(t, dsn), insert, "alice")
	w.told(t, "alice") // by polling: the pool's way is another one
	eventually(t, "the store is no longer notifying", func() bool { return !s.Health().Notified })
	proxy.Restore()
	eventually(t, "the store is notifying again", notified(s))
}

// A cache must not be used while it is unknown whether the listening connection is alive, which takes some time to find out.
func TestAStoreWhoseListenerIsSilentIsNotCurrent(t *testing.T) {
	t.Parallel()
	proxy, settings := listeningThroughAProxy(t, databaseWithSchema(t))
	s := open(t, settings)
	s.observer.Timing.Ping = time.Hour
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	watch(t, s)
	eventually(t, "the store is current", func() bool { return s.Health().Current })
	proxy.Stall()
	eventually(t, "the store is no longer current", func() bool { return !s.Health().Current })
	if !s.Health().Notified {
		t.Error("it was found out")
	}
	proxy.Restore()
	eventually(t, "the store is current again", func() bool { return s.Health().Current })
}

func TestWhereNotificationsDoNotPassTheStorePollsAndTriesAgain(t *testing.T) {
	t.Parallel()
	dsn, elsewhere := databaseWithSchema(t), testenv.Database(t)
	var mu sync.Mutex
	listen := elsewhere // as good as a pooler that swallows notifications
	settings := quick(dsn)
	settings.ListenDSN = func() (string, error) {
		mu.Lock()
		defer mu.Unlock()
		return listen, nil
	}
	ready(t, quick(dsn))
	s := open(t, settings)
	s.observer.Timing.SelfTest, s.observer.Timing.RetryListen = 50*time.Millisecond, 100*time.Millisecond
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := watch(t, s)
	pool := connect(t, dsn)
	run(t, pool, insert, "alice")
	w.told(t, "alice")
	run(t, pool, "UPDATE users SET failed_login_attempts = 3")
	eventually(t, "the subscriber is notified of the counter", func() bool { return w.of("alice") > 1 })
	if s.Health().Notified {
		t.Error("it says that it is notifying")
	}
	mu.Lock()
	listen = dsn
	mu.Unlock()
	eventually(t, "the store is notifying", notified(s))
}

func TestWithoutTheRightToATriggerTheStorePollsAndLogsItOnce(t *testing.T) {
	t.Parallel()
	dsns := anothersTable(t, testenv.Database(t))
	var log logged
	settings := quick(dsns.dsn)
	settings.Log = log.logger()
	s := open(t, settings)
	s.observer.Timing.RetryListen = 50 * time.Millisecond
	background(t, func(ctx context.Context) { _ = s.Maintain(ctx) })
	w := watch(t, s)
	w.told(t, "legacy-1")
	other := connect(t, dsns.other)
	for i := range 3 {
		w.forget()
		run(t, other, "UPDATE users SET failed_login_attempts = $1 WHERE username = 'legacy-1'", i+1)
		w.told(t, "legacy-1")
		if n := w.of("legacy-2"); n != 0 {
			t.Errorf("a row that did not change was reported %d times", n)
		}
	}
	if s.Health().Notified {
		t.Error("it says that it is notifying")
	}
	if n := strings.Count(log.String(), "GRANT TRIGGER"); n != 1 {
		t.Errorf("said %d times that a right is missing: %s", n, log.String())
	}
	role, _ := names(t, dsns.dsn)
	run(t, other, "GRANT TRIGGER ON users TO "+role)
	eventually(t, "the store is notifying", notified(s))
}

func TestATriggerThatAnotherProgramDropsIsCreatedAgain(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	watch(t, s)
	eventually(t, "the store is notifying", notified(s))
	pool := connect(t, dsn)
	run(t, pool, "DROP FUNCTION "+schema.TriggerFunction+" CASCADE")
	eventually(t, "the trigger is there", func() bool { return countTriggers(t, pool) == schema.TriggerCount })
}

func TestNothingIsReportedWhileNothingChanges(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	settings := quick(dsn)
	settings.ResyncInterval = 10 * time.Millisecond
	s := ready(t, settings)
	run(t, connect(t, dsn), insert, "alice")
	w := watch(t, s)
	w.told(t, "alice")
	began := s.Pool().Stat().AcquireCount()
	eventually(t, "it has swept a few times", func() bool { return s.Pool().Stat().AcquireCount() > began+50 })
	if n := w.of("alice"); n != 1 {
		t.Errorf("reported %d times, want once", n)
	}
}

func TestAListenerThatCannotConnectDoesNotKeepLocksFromBeingSeen(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	proxy, through := testenv.DatabaseProxy(t, dsn)
	settings := quick(dsn)
	settings.ListenDSN = fixed(with(through, "connect_timeout=600")) // for as long as the test may take
	s := ready(t, settings)
	pool := connect(t, dsn)
	run(t, pool, insert, "alice")
	for name, disturb := range map[string]func(){"the network swallows": proxy.Stall, "nothing answers": proxy.Cut} {
		t.Run(name, func(t *testing.T) {
			disturb()
			w := watch(t, s)
			w.told(t, "alice")
			for range 5 {
				w.forget()
				run(t, pool, "UPDATE users SET locked_until = clock_timestamp() + INTERVAL '15 minutes'")
				w.told(t, "alice")
			}
			if s.Health().Notified || !s.Health().Up() {
				t.Errorf("notifying is %v, and up is %v", s.Health().Notified, s.Health().Up())
			}
			proxy.Restore()
			eventually(t, "the store is notifying", notified(s))
		})
	}
}
