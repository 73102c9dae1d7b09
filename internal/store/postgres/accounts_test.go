// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// As the sharding manager makes it: times with a zone, NULL for no password, a column of its own.
const tableOfTheManager = `
CREATE TABLE users (username VARCHAR(255) PRIMARY KEY, password_hash VARCHAR(255), roles JSONB NOT NULL DEFAULT '[]'::jsonb,
	active BOOLEAN NOT NULL DEFAULT true, created_at TIMESTAMPTZ NOT NULL DEFAULT now(), updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
	last_login_at TIMESTAMPTZ, failed_login_attempts INTEGER NOT NULL DEFAULT 0, locked_until TIMESTAMPTZ, email TEXT)`

func TestAccountsAreReadFromATableWhereNoOperatorEverRan(t *testing.T) {
	t.Parallel()
	dsn := testenv.Database(t)
	pool := connect(t, dsn)
	run(t, pool, tableOfTheManager)
	run(t, pool, `INSERT INTO users (username, password_hash, roles, active, failed_login_attempts, locked_until) VALUES
		('b', NULL, '["viewer"]', true, 0, NULL),
		('n', '', 'null', true, 0, NULL),
		('B', 'x', '{"no": "array"}', false, 5, '2026-01-02T03:04:05Z')`)
	got, err := open(t, quick(dsn)).Accounts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []store.Account{
		{Username: "B", Row: user.Row{
			PasswordHash: "x", RolesMalformed: true, FailedLoginAttempts: 5,
			LockedUntil: new(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
		}},
		{Username: "b", Row: user.Row{Roles: []string{"viewer"}, Active: true}},
		{Username: "n", Row: user.Row{Active: true}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Accounts (-want +got):\n%s", diff)
	}
}

func TestAccountsTellWhoOwnsARow(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	for _, username := range []string{"owned", "released"} {
		if _, err := s.Apply(t.Context(), creation(username)); err != nil {
			t.Fatal(err)
		}
	}
	run(t, connect(t, dsn), `UPDATE shardinguser_ownership SET state = 'released' WHERE username = 'released'`)
	got, err := s.Accounts(t.Context())
	if err != nil || len(got) != 2 {
		t.Fatalf("Accounts = %v, %v", got, err)
	}
	if want := creation("owned").Owner; got[0].Owner == nil || *got[0].Owner != want {
		t.Errorf("the owner is %v, want %v", got[0].Owner, want)
	}
	if got[1].Owner != nil {
		t.Errorf("a row that was let go of is owned by %v", got[1].Owner)
	}
}

func TestAccountsThatMayNotBeReadNameTheGrant(t *testing.T) {
	t.Parallel()
	dsn := testenv.Database(t)
	run(t, connect(t, dsn), tableOfTheManager)
	_, err := open(t, quick(testenv.Role(t, dsn))).Accounts(t.Context())
	if err == nil || !strings.Contains(err.Error(), "GRANT") {
		t.Errorf("Accounts: %v, want a GRANT", err)
	}
}

func TestAttemptsAreTheLatestThatWereAskedFor(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	run(t, connect(t, dsn), `INSERT INTO login_attempts (attempted_at, username, outcome, source, user_agent) VALUES
		(now() - interval '3 hours', 'alice', 'success', '192.0.2.1', 'one'),
		(now() - interval '2 hours', 'alice', 'failed',  '192.0.2.2', 'two'),
		(now() - interval '1 hour',  'alice', 'locked',  '192.0.2.3', 'three'),
		(now(),                      'bob',   'failed',  '192.0.2.4', 'four')`)
	for name, tt := range map[string]struct {
		trail store.Trail
		want  []string
	}{
		"all of a user, the latest first": {store.Trail{Username: "alice"}, []string{"three", "two", "one"}},
		"only so many":                    {store.Trail{Username: "alice", Limit: 2}, []string{"three", "two"}},
		"only of late":                    {store.Trail{Username: "alice", Since: 90 * time.Minute}, []string{"three"}},
		"only such": {
			store.Trail{Username: "alice", Outcomes: []store.Outcome{store.Succeeded, store.Failed}}, []string{"two", "one"},
		},
		"none of whom nobody knows":      {store.Trail{Username: "carol"}, nil},
		"none of what can be no account": {store.Trail{Username: "a\x00"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			records, err := s.ReadAttempts(t.Context(), tt.trail)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, record := range records {
				got = append(got, record.UserAgent)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("ReadAttempts (-want +got):\n%s", diff)
			}
		})
	}
}
