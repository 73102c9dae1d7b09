// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := testenv.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// cluster is a real database with any number of replicas.
type cluster struct {
	t     *testing.T
	dsn   string
	admin *pgx.Conn
}

// newCluster returns a cluster in which alice has the right password.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	dsn := testenv.Database(t)
	c := &cluster{t: t, dsn: dsn}
	s := c.store()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Maintain(ctx); err != nil {
			t.Errorf("Maintain: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })

	var err error
	if c.admin, err = pgx.Connect(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.admin.Close(context.Background()) })
	ready := time.NewTicker(10 * time.Millisecond)
	defer ready.Stop()
	for deadline := time.After(time.Minute); ; {
		if _, err := s.Observe(t.Context(), "alice"); err == nil {
			break
		}
		select {
		case <-ready.C:
		case <-deadline:
			t.Fatal("the schema did not become complete")
		}
	}
	change := user.Change{
		Username: "alice", Verb: user.Create, Owner: user.Owner{Cluster: "c", Namespace: "n", Name: "alice", UID: "1"},
		Generation: 1, Roles: []string{"operator"}, Active: true,
		Password: &user.PasswordChange{Hash: hashOf(t, right), Version: "1", New: true},
	}
	if _, err := s.Apply(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) store() *postgres.Store {
	c.t.Helper()
	s, err := postgres.Open(postgres.Settings{
		DSN:          func() (string, error) { return c.dsn, nil },
		MinIdleConns: -1, MaxConns: 5,
		StatementTimeout: time.Minute, // for a hundred concurrent logins
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(s.Close)
	return s
}

// replica is the login side of a process, with its own pool.
func (c *cluster) replica() *world {
	s := c.store()
	return newWorld(c.t, func(o *Options) {
		o.Attempts, o.Accounts, o.Registry = s, s, prometheus.NewRegistry()
	})
}

// outcomes counts the outcomes in the audit trail.
func (c *cluster) outcomes(replicas ...*world) map[store.Outcome]int {
	c.t.Helper()
	for _, replica := range replicas {
		replica.settling.Wait()
	}
	rows, err := c.admin.Query(c.t.Context(), "SELECT outcome FROM login_attempts")
	if err != nil {
		c.t.Fatal(err)
	}
	outcomes, err := pgx.CollectRows(rows, pgx.RowTo[store.Outcome])
	if err != nil {
		c.t.Fatal(err)
	}
	count := map[store.Outcome]int{}
	for _, o := range outcomes {
		count[o]++
	}
	return count
}

// Guesses from elsewhere lock the account, and not the address of its owner: five guesses from each, on all replicas together.
func TestParallelGuessesFromFamiliarAndOtherAddressesGetFiveChecksEach(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	if _, err := c.admin.Exec(t.Context(), "UPDATE shardinguser_ownership SET lockout_familiar = true"); err != nil {
		t.Fatal(err)
	}
	replicas := []*world{c.replica(), c.replica(), c.replica(), c.replica()}
	home, office, away := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("127.0.0.2")
	for _, source := range []netip.Addr{home, office} {
		if got := replicas[0].tryFrom(source, right); got != Succeeded {
			t.Fatalf("the owner from %v: %s", source, got)
		}
	}
	parallel(200, func(i int) {
		source := []netip.Addr{home, away, office, away}[i/4%4]
		if got := replicas[i%4].tryFrom(source, fmt.Sprint(wrong, i)); got != Failed && got != Locked {
			t.Errorf("a guess: %s", got)
		}
	})
	if got := c.outcomes(replicas...); got[store.Failed] != 10 || got[store.RefusedLocked] != 190 {
		t.Errorf("the record has %v", got)
	}
	var familiar int
	if err := c.admin.QueryRow(t.Context(), "SELECT count(*) FROM login_attempts WHERE familiar AND outcome = 'failed'").Scan(&familiar); err != nil {
		t.Fatal(err)
	}
	if familiar != 5 {
		t.Errorf("%d guesses from familiar addresses were checked, want 5", familiar)
	}
}

func TestTheOwnerLogsInFromAFamiliarAddressWhileOthersKeepTheAccountLocked(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	if _, err := c.admin.Exec(t.Context(), "UPDATE shardinguser_ownership SET lockout_familiar = true"); err != nil {
		t.Fatal(err)
	}
	w, home, away := c.replica(), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	expect := func(source netip.Addr, password string, want Outcome) {
		t.Helper()
		if got := w.tryFrom(source, password); got != want {
			t.Errorf("from %v: %s, want %s", source, got, want)
		}
		w.settling.Wait()
	}
	expect(home, right, Succeeded)
	for range 5 {
		expect(away, wrong, Failed)
	}
	expect(away, right, Locked)
	for range 3 {
		expect(home, right, Succeeded)
		expect(away, right, Locked) // the login of the owner gave no new guesses
	}
	for range 5 {
		expect(home, wrong, Failed)
	}
	expect(home, right, Locked)
}

// 200 parallel wrong passwords against 4 replicas on one database (Keycloak CVE-2024-4629).
func TestParallelGuessesGetFiveChecksOnADatabase(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	replicas := []*world{c.replica(), c.replica(), c.replica(), c.replica()}
	parallel(200, func(i int) {
		if got := replicas[i%4].try("alice", fmt.Sprint(wrong, i)); got != Failed && got != Locked {
			t.Errorf("a guess: %s", got)
		}
	})
	if got := c.outcomes(replicas...); got[store.Failed] != 5 || got[store.RefusedLocked] != 195 {
		t.Errorf("the record has %v", got)
	}
	if got := replicas[0].try("alice", right); got != Locked {
		t.Errorf("the right password while locked: %s", got)
	}
	// And after a restart (Argo CD CVE-2024-21652).
	if got := c.replica().try("alice", right); got != Locked {
		t.Errorf("the right password on a new replica: %s", got)
	}
}

func TestFailuresOnTwoReplicasLockOnBoth(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	here, there := c.replica(), c.replica()
	for range 4 {
		here.try("alice", wrong)
	}
	if got := there.try("alice", wrong); got != Failed {
		t.Errorf("the fifth: %s", got)
	}
	for _, replica := range []*world{here, there} {
		if a := replica.postLogIn("alice", right); a.Code != http.StatusUnauthorized {
			t.Errorf("the right password while locked: %d", a.Code)
		}
	}
}

func TestAHundredParallelLoginsSucceedOnADatabase(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	w := c.replica()
	parallel(100, func(int) {
		if a := w.postLogIn("alice", right); a.Code != http.StatusOK {
			t.Errorf("%d %s", a.Code, a.Body)
		}
	})
	if got := c.outcomes(w); got[store.Succeeded] != 100 || len(got) != 1 {
		t.Errorf("the record has %v", got)
	}
}

// The clocks of replicas and the time zones of sessions differ. A lock still has the configured duration by the clock of the
// database.
func TestAReplicaWithAWrongClockWritesTheSameLock(t *testing.T) {
	t.Parallel()
	for o, off := range []time.Duration{-time.Hour, time.Hour} {
		for z, zone := range []string{"Asia/Tokyo", "America/Los_Angeles"} {
			if testing.Short() && o != z {
				continue // test each of them once
			}
			t.Run(fmt.Sprint(off, " in ", zone), func(t *testing.T) {
				t.Parallel()
				c := newCluster(t)
				if _, err := c.admin.Exec(t.Context(), `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = %L',
					current_database(), '`+zone+`'); END $$`); err != nil {
					t.Fatal(err)
				}
				w := c.replica()
				w.clock.set(time.Now().Add(off))
				for range 5 {
					w.try("alice", wrong)
				}
				if got := w.try("alice", right); got != Locked {
					t.Errorf("the right password while locked: %s", got)
				}
				var left float64
				if err := c.admin.QueryRow(t.Context(), `SELECT extract(epoch FROM locked_until - (now() AT TIME ZONE 'UTC'))
					FROM users WHERE username = 'alice'`).Scan(&left); err != nil {
					t.Fatal(err)
				}
				if left < 14*60 || left > 15*60 {
					t.Errorf("the lock ends in %.0f s, want 15 minutes", left)
				}
			})
		}
	}
}

// Usernames that the database cannot encode are not looked up.
func TestUnencodableUsernamesAreUnknown(t *testing.T) {
	t.Parallel()
	w := newCluster(t).replica()
	for _, name := range []string{"alice\x00", "\xff\xfe", "alice\r\n", string(make([]byte, 1<<10)), "' OR true --"} {
		if a := w.verifyBasic(name, right); a.Code != http.StatusUnauthorized {
			t.Errorf("%.20q: %d %s", name, a.Code, a.Body)
		}
	}
}

func TestGatewayRequestsOnADatabase(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	w := c.replica()
	for range 3 {
		if a := w.verifyBasic("alice", right); a.Code != http.StatusOK || a.Header().Get("X-Auth-Roles") != "operator" {
			t.Errorf("%d %v", a.Code, a.Header())
		}
	}
	if n := w.Hasher.Compared(); n != 1 {
		t.Errorf("%d computations, want 1", n)
	}
	if _, err := c.admin.Exec(t.Context(), "UPDATE users SET active = false WHERE username = 'alice'"); err != nil {
		t.Fatal(err)
	}
	if a := w.verifyBasic("alice", right); a.Code != http.StatusUnauthorized {
		t.Errorf("once deactivated: %d", a.Code)
	}
}
