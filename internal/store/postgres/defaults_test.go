// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// insertsDefaults is what the sharding manager does with an empty table, its own way.
const insertsDefaults = `INSERT INTO users (username, password_hash, roles, active) VALUES
('admin', '$2a$10$LtlhX7.r1Rf9Fl7XjR9VKeaZvwU7PJK6tlWF5rXdxe1fg55wurAnW', '["admin"]', true),
('operator', '$2a$10$oDZulSnupJh0OdVrJImYNO/HrxjmUx8QA.ICMSA/Pdskkdwd68.bu', '["operator"]', true),
('viewer', '$2a$10$QyJBIVEeUVYYYdRELwpeLe7E5y2vvDIWdIMlIoXOjQCYWj2ozssDG', '["viewer"]', true)`

func TestDefaultPasswordsAreFoundWhereverTheyStand(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change string // after insertsDefaults
		count  int
		want   []string
	}{
		"as the sharding manager inserts them": {"", 3, []string{"admin", "operator", "viewer"}},
		"one is inactive":                      {"UPDATE users SET active = false WHERE username = 'admin'", 2, []string{"operator", "viewer"}},
		"one has another password":             {"UPDATE users SET password_hash = '$2a$10$' || substr(password_hash, 9) || 'x' WHERE username = 'viewer'", 2, []string{"admin", "operator"}},
		"one has no password":                  {"ALTER TABLE users ALTER password_hash DROP NOT NULL; UPDATE users SET password_hash = NULL WHERE username = 'viewer'", 2, []string{"admin", "operator"}},
		"another account has one": {
			"INSERT INTO users (username, password_hash) SELECT 'zoë', '$2y' || substr(password_hash, 4) FROM users WHERE username = 'admin'",
			4,
			[]string{"admin", "operator", "viewer", "zoë"},
		},
		"one is followed by a newline": {"UPDATE users SET password_hash = password_hash || E'\n' WHERE username = 'viewer'", 3, []string{"admin", "operator", "viewer"}},
		"the column pads its values":   {"ALTER TABLE users ALTER password_hash TYPE char(72)", 3, []string{"admin", "operator", "viewer"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admin := testenv.Database(t)
			s := open(t, quick(admin))
			if err := s.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			pool := connect(t, admin)
			run(t, pool, insertsDefaults)
			if tt.change != "" {
				run(t, pool, tt.change)
			}
			found, err := s.readDefaults(t.Context())
			if err != nil || found.Count != tt.count || !slices.Equal(found.Usernames, tt.want) {
				t.Errorf("found %+v, %v, want %d: %v", found, err, tt.count, tt.want)
			}
		})
	}
}

func TestTheListOfDefaultPasswordsIsBounded(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	s := open(t, quick(admin))
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, connect(t, admin), fmt.Sprintf(`INSERT INTO users (username, password_hash)
SELECT 'user-' || lpad(i::text, 4, '0'), '%s' FROM generate_series(1, 1000) i`, user.DefaultHashes()[1]))
	found, err := s.readDefaults(t.Context())
	if err != nil || found.Count != 1000 || len(found.Usernames) != store.MostDefaultPasswords || found.Usernames[99] != "user-0100" {
		t.Errorf("found %d: %v, %v", found.Count, found.Usernames, err)
	}
}

func TestDefaultPasswordsAreLoggedOnceAndOnceTheyAreGone(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	pool := connect(t, admin)
	run(t, pool, plainTable+";"+insertsDefaults+"; UPDATE users SET username = E'admin\\r\\n' WHERE username = 'admin'")
	var log logged
	settings := quick(admin)
	settings.Log, settings.DefaultsInterval = log.logger(), 20*time.Millisecond
	s := ready(t, settings)
	eventually(t, "the default passwords are found", func() bool { return s.Health().DefaultPasswords.Count == 3 })
	run(t, pool, "UPDATE users SET password_hash = '!' WHERE username = 'viewer'")
	eventually(t, "one is gone", func() bool { return s.Health().DefaultPasswords.Count == 2 })
	run(t, pool, "UPDATE users SET active = false")
	eventually(t, "all are gone", func() bool { return s.Health().DefaultPasswords.Count == 0 })
	eventually(t, "that is logged", func() bool { return strings.Contains(log.String(), "No account has a default password") })
	said := log.String()
	if n := strings.Count(said, "Accounts have a well-known default password"); n != 1 {
		t.Errorf("it was logged %d times:\n%s", n, said)
	}
	if !strings.Contains(said, "operator") || !strings.Contains(said, "accounts=3") || strings.Contains(said, "$2a$") || strings.Contains(said, "\r") {
		t.Errorf("the log says\n%s", said)
	}
}

func TestBeginning(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		use  func(t *testing.T, s *Store, admin string)
		want []string // usernames, with a star where owned
		used bool
	}{
		"an empty table": {},
		"the accounts of the sharding manager": {
			use:  func(t *testing.T, _ *Store, admin string) { t.Helper(); run(t, connect(t, admin), insertsDefaults) },
			want: []string{"admin", "operator", "viewer"},
		},
		"no more accounts than were asked for": {
			use: func(t *testing.T, _ *Store, admin string) {
				t.Helper()
				run(t, connect(t, admin), insertsDefaults+", ('a', '!', '[]', true), ('b', '!', '[]', true)")
			},
			want: []string{"a", "admin", "b", "operator"},
		},
		"an account of ours": {
			use: func(t *testing.T, s *Store, admin string) {
				t.Helper()
				run(t, connect(t, admin), insertsDefaults)
				if _, err := s.Apply(t.Context(), creation("alice")); err != nil {
					t.Fatal(err)
				}
			},
			want: []string{"admin", "alice*", "operator", "viewer"}, used: true,
		},
		"an account of ours that is gone without a record": {
			use: func(t *testing.T, s *Store, admin string) {
				t.Helper()
				if _, err := s.Apply(t.Context(), creation("alice")); err != nil {
					t.Fatal(err)
				}
				run(t, connect(t, admin), "DELETE FROM users; DELETE FROM shardinguser_ownership")
			},
			used: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admin := databaseWithSchema(t)
			s := ready(t, quick(admin))
			if tt.use != nil {
				tt.use(t, s, admin)
			}
			beginning, err := s.Beginning(t.Context(), 4)
			var got []string
			for _, account := range beginning.Accounts {
				star := ""
				if account.Owner != nil {
					star = "*"
				}
				got = append(got, account.Username+star)
			}
			if err != nil || !slices.Equal(got, tt.want) || beginning.Used != tt.used {
				t.Errorf("Beginning = %v, used %v, %v, want %v, used %v", got, beginning.Used, err, tt.want, tt.used)
			}
		})
	}
}
