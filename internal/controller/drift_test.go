// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"testing"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

func TestDriftIsCorrectedAndTheLoginColumnsKeepTheirValues(t *testing.T) {
	t.Parallel()
	for name, drift := range map[string]struct {
		statement string
		field     string
		others    string // what the same statement does to the login columns
	}{
		"a hash of another program": {`UPDATE users SET password_hash = 'theirs'`, "password_hash", ""},
		"more roles":                {`UPDATE users SET roles = roles || '["admin"]'`, "roles", ""},
		"roles that are no list":    {`UPDATE users SET roles = '{"admin": true}'`, "roles", ""},
		"no active account":         {`UPDATE users SET active = false`, "active", ""},
		"no row":                    {`DELETE FROM users`, "row", "lost"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, op := begin(t)
			s.secret("ours", "password", aHash)
			u := s.readyUser("ours", hashedSecret("ours"), roles("viewer", "operator"))
			// The value of an unknown column is reported nowhere, but it stays too.
			s.sql(`ALTER TABLE users ADD COLUMN note TEXT`)
			s.sql(`UPDATE users SET failed_login_attempts = 2, last_login_at = '2026-01-31 12:00:00',
				locked_until = (now() AT TIME ZONE 'UTC') + interval '1 hour', note = 'theirs'`)
			before := s.row("ours")

			s.sql(drift.statement)
			s.eventually(func(g gomega.Gomega) {
				r := s.row("ours")
				g.Expect(r).NotTo(gomega.BeNil())
				g.Expect(r.Hash).To(gomega.Equal(aHash))
				g.Expect(r.Roles).To(gomega.Equal(before.Roles))
				g.Expect(r.Active).To(gomega.BeTrue())
			})
			if drift.others != "lost" {
				r := s.row("ours")
				s.Expect(r.Failed).To(gomega.Equal(2))
				s.Expect(r.LastLogin).To(gomega.Equal(before.LastLogin))
				s.Expect(r.LockedUntil).To(gomega.Equal(before.LockedUntil))
				s.Expect(r.Created).To(gomega.Equal(before.Created))
				var note string
				s.Expect(s.db.QueryRow(t.Context(), `SELECT note FROM users`).Scan(&note)).To(gomega.Succeed())
				s.Expect(note).To(gomega.Equal("theirs"))
			}
			s.eventually(func(g gomega.Gomega) {
				g.Expect(op.metric(t, "shardinguser_drift_corrections_total", drift.field)).To(gomega.BeEquivalentTo(1))
				g.Expect(s.events(g, "ours")).To(gomega.HaveKeyWithValue(v1alpha1.EventDriftCorrected, 1))
			})
			s.Expect(op.metric(t, "shardinguser_drift_corrections_total")).To(gomega.BeEquivalentTo(1), "and no other")
			s.Expect(s.events(s, "ours")).NotTo(gomega.HaveKey(v1alpha1.EventUpdated))
			s.Expect(s.events(s, "ours")).NotTo(gomega.HaveKey(v1alpha1.EventPasswordChanged))
			s.Expect(op.hasher.Computed()).To(gomega.BeZero())
			s.ready(u)
		})
	}
}

func TestRolesInAnotherOrderAreNoDrift(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	s.readyUser("set", roles("viewer", "operator"))
	s.sql(`UPDATE users SET roles = '["operator", "viewer"]'`)
	before := s.row("set")
	// The next drift is noticed after the one in question, and so tells that this was looked at.
	s.readyUser("next")
	s.sql(`UPDATE users SET active = false WHERE username = 'next'`)
	s.eventually(func(g gomega.Gomega) { g.Expect(s.row("next").Active).To(gomega.BeTrue()) })
	s.Expect(s.row("set")).To(gomega.Equal(before))
	s.Expect(op.metric(t, "shardinguser_drift_corrections_total", "roles")).To(gomega.BeZero())
}

func TestRowsWithoutAnOwnerAreNeverChanged(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.table()
	s.sql(`INSERT INTO users (username, password_hash, roles) VALUES ('legacy', 'theirs', '["x"]'), ('Admin', 'theirs', '[]')`)
	legacy, capital := s.row("legacy"), s.row("Admin")
	s.start()
	u := s.readyUser("admin") // usernames are compared byte by byte
	s.sql(`UPDATE users SET active = false WHERE username = 'admin'`)
	s.eventually(func(g gomega.Gomega) { g.Expect(s.row("admin").Active).To(gomega.BeTrue()) })
	s.remove(u)
	s.Expect(s.row("admin")).To(gomega.BeNil())
	s.Expect(s.row("legacy")).To(gomega.Equal(legacy))
	s.Expect(s.row("Admin")).To(gomega.Equal(capital))
}
