// SPDX-License-Identifier: Apache-2.0

package shardingmanager_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/bcrypt"

	"github.com/sharding-system/shardinguser-operator/test/shardingmanager"
)

// running returns an installation with a manager of the newer generation and the account alice.
func running(t *testing.T, zone *time.Location) (*installation, *manager) {
	t.Helper()
	i := theirs(t)
	m := i.start(shardingmanager.Options{Generation: shardingmanager.Newer, Zone: zone})
	i.add("alice", bcrypt.MinCost)
	return i, m
}

// minutes returns the remaining minutes of alice's lock, by the database's clock; 0 for no lock.
func (i *installation) minutes() float64 {
	i.t.Helper()
	return ask[float64](i, `SELECT COALESCE(EXTRACT(epoch FROM locked_until - (now() AT TIME ZONE 'UTC')) / 60, 0)::float8 FROM users WHERE username = 'alice'`)
}

func (i *installation) isAbout(what string, got, want float64) {
	i.t.Helper()
	if got < want-1 || got > want+1 {
		i.t.Errorf("%s: %.1f minutes, want about %.0f", what, got, want)
	}
}

func TestManagerLogin(t *testing.T) {
	t.Parallel()
	i, m := running(t, nil)
	if !m.logsIn(" alice ", right) || m.logsIn("alice", "wrong") || m.logsIn("nobody", right) {
		t.Errorf("the log:\n%s", m.Log())
	}
	if !ask[bool](i, "SELECT last_login_at BETWEEN now() - interval '1 minute' AND now() AND failed_login_attempts = 1 FROM users WHERE username = 'alice'") {
		t.Error("the success and the failure after it are not in the row")
	}
}

func TestManagerTokensLastADay(t *testing.T) {
	t.Parallel()
	i := theirs(t)
	m := i.start(shardingmanager.Options{Generation: shardingmanager.Newer, Secret: "a secret of both programs, 32 bytes"})
	i.add("alice", bcrypt.MinCost)
	answer, err := m.LogIn(t.Context(), "alice", right)
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{}
	_, err = jwt.ParseWithClaims(answer.Token, claims, func(*jwt.Token) (any, error) { return []byte("a secret of both programs, 32 bytes"), nil },
		jwt.WithValidMethods([]string{"HS256"}))
	expires, _ := claims.GetExpirationTime()
	if err != nil || claims["username"] != "alice" || expires == nil || time.Until(expires.Time) < 23*time.Hour {
		t.Errorf("the claims are %v, %v", claims, err)
	}
}

// The row says that alice is inactive, and every second attempt succeeds.
func TestADeactivatedAccountLogsInAtEverySecondAttempt(t *testing.T) {
	t.Parallel()
	i, m := running(t, nil)
	i.sql("UPDATE users SET active = false")
	var got []bool
	for range 4 {
		i.sql("UPDATE users SET failed_login_attempts = 0") // each failure counts, and the fifth would lock
		got = append(got, m.logsIn("alice", right))
	}
	if got[0] || !got[1] || got[2] || !got[3] {
		t.Errorf("the tries end with %v", got)
	}
}

func TestTheCacheServesOneMoreLoginAfterAChange(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"a deletion": "DELETE FROM users", "another password": "UPDATE users SET password_hash = '!'",
		"a lock": "UPDATE users SET locked_until = now() + interval '1 hour'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, m := running(t, nil)
			i.sql("UPDATE users SET active = false")
			m.logsIn("alice", right) // fills the cache
			i.sql(change)
			if !m.logsIn("alice", right) || m.logsIn("alice", right) {
				t.Error("not exactly the first login gets in")
			}
		})
	}
}

func TestALockOrAnUnusableHashRefusesLogins(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"a lock":           "UPDATE users SET active = false, locked_until = now() + interval '1 hour'",
		"an unusable hash": "UPDATE users SET active = false, password_hash = '!' || substr(password_hash, 2)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, m := running(t, nil)
			i.sql(change)
			for range 6 {
				if m.logsIn("alice", right) {
					t.Error("alice logs in")
				}
			}
		})
	}
}

func TestManagerLocks(t *testing.T) {
	t.Parallel()
	i, m := running(t, nil)
	for range 5 {
		m.logsIn("alice", "wrong")
	}
	i.isAbout("the lock after five failures", i.minutes(), 15)

	i.sql("UPDATE users SET locked_until = locked_until - interval '10 minutes'")
	if m.logsIn("alice", right) {
		t.Error("alice logs in though locked")
	}
	i.isAbout("the lock after an attempt while locked", i.minutes(), 15)

	i.sql("UPDATE users SET locked_until = now() - interval '1 second'")
	m.logsIn("alice", "wrong")
	i.isAbout("the lock after one failure since the last one expired", i.minutes(), 15)

	i.sql("UPDATE users SET locked_until = now() - interval '1 second'")
	if !m.logsIn("alice", right) || i.minutes() != 0 {
		t.Error("the right password does not lift an expired lock")
	}
}

// The column has no zone: it keeps the wall time of the process, and every reader takes it as UTC.
func TestLocksAreWrittenInTheTimeZoneOfTheProcess(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		zone    *time.Location
		column  string
		minutes float64
	}{
		"Tokyo":                       {zone: time.FixedZone("", 9*3600), minutes: 9*60 + 15},
		"Los Angeles":                 {zone: time.FixedZone("", -8*3600), minutes: -8*60 + 15},
		"Tokyo, in a column with one": {zone: time.FixedZone("", 9*3600), column: "timestamptz", minutes: 15},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, m := running(t, tt.zone)
			if tt.column != "" {
				i.sql("ALTER TABLE users ALTER locked_until TYPE " + tt.column)
			}
			for range 5 {
				m.logsIn("alice", "wrong")
			}
			minutes := i.minutes()
			if tt.column != "" {
				minutes = ask[float64](i, "SELECT EXTRACT(epoch FROM locked_until - now())::float8 / 60 FROM users")
			}
			i.isAbout("the lock", minutes, tt.minutes)
			if locked := !m.logsIn("alice", right); locked != (tt.minutes > 0) {
				t.Errorf("alice is kept out: %v", locked)
			}
		})
	}
}

// A failure is counted after the check, so more than five guesses are checked at once.
func TestParallelGuessesAreCheckedBeforeTheyCount(t *testing.T) {
	t.Parallel()
	i, m := running(t, nil)
	i.add("bob", 8)
	var guesses sync.WaitGroup
	for range 100 {
		guesses.Go(func() {
			if _, err := m.LogIn(t.Context(), "bob", "wrong"); err != nil {
				t.Error(err)
			}
		})
	}
	guesses.Wait()
	if checked := strings.Count(m.Log(), "invalid password"); checked <= 5 {
		t.Errorf("%d of 100 guesses are checked", checked)
	}
}

func TestLimitsOfTheNewerGeneration(t *testing.T) {
	t.Parallel()
	i, m := running(t, nil)
	username, err := m.LogInByOAuth(t.Context(), "github", "7", "Zoë Müller")
	if err != nil || username != "zoë_müller" {
		t.Errorf("it keeps %q, %v", username, err)
	}
	if m.logsIn(username, right) {
		t.Error("a user of OAuth logs in by a password")
	}
	if err := m.Add(t.Context(), "Bob Smith", "!"); err != nil {
		t.Error(err)
	}
	if got := ask[string](i, "SELECT roles::text FROM users WHERE username = 'Bob Smith'"); got != "null" {
		t.Errorf("no roles are kept as %s", got)
	}
	if err := m.Add(t.Context(), "third", "!", "admin"); err == nil {
		t.Error("it counts administrators over roles that are null") // the server refuses to take a scalar apart
	}
	i.sql("DELETE FROM users WHERE username = 'Bob Smith'")
	for n, username := range []string{"first", "second", "third"} {
		if err := m.Add(t.Context(), username, "!", "admin"); (err == nil) != (n < 2) {
			t.Errorf("administrator number %d: %v", n+1, err)
		}
	}
}

func TestOAuthLogsInLockedAndInactiveAccounts(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"a lock":         "UPDATE users SET locked_until = now() + interval '1 hour'",
		"active: false":  "UPDATE users SET active = false",
		"another role":   "UPDATE users SET active = false, roles = '[\"operator\"]'",
		"nothing at all": "SELECT",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := theirs(t)
			m := i.start(shardingmanager.Options{Generation: shardingmanager.Newer})
			for _, statement := range []string{"SELECT", change} {
				i.sql(statement)
				if username, err := m.LogInByOAuth(t.Context(), "github", "7", "Zoë Müller"); err != nil || username != "zoë_müller" {
					t.Errorf("after %s it logs in %q, %v", statement, username, err)
				}
			}
			if !ask[bool](i, `SELECT active AND locked_until IS NULL AND roles = '["viewer"]' FROM users`) {
				t.Error("the row is not active, unlocked and a viewer's")
			}
		})
	}
}
