// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// A hostility is what another program's trigger does to an UPDATE that changes the roles of an account.
type hostility string

const (
	refuses hostility = "refuses" // it raises an error
	skips   hostility = "skips"   // it skips the row
	changes hostility = "changes" // it keeps the roles, and lets the rest through
)

// hostility makes the table users with a trigger that is hostile to the accounts of another table.
func (s *story) hostility() {
	s.t.Helper()
	s.table()
	s.sql(`CREATE TABLE hostilities (username TEXT PRIMARY KEY, how TEXT NOT NULL)`)
	s.sql(trigger("hostile", "BEFORE UPDATE", `
		CASE (SELECT how FROM hostilities h WHERE h.username = NEW.username AND NEW.roles <> OLD.roles)
			WHEN 'refuses' THEN RAISE EXCEPTION 'hostile';
			WHEN 'skips' THEN RETURN NULL;
			WHEN 'changes' THEN NEW.roles := OLD.roles; RETURN NEW;
			ELSE RETURN NEW;
		END CASE;`))
}

// setHostility has the trigger begin to be hostile to an account, or end that.
func (s *story) setHostility(username string, how hostility) {
	s.t.Helper()
	if how == "" {
		s.sql(`DELETE FROM hostilities WHERE username = $1`, username)
		return
	}
	s.sql(`INSERT INTO hostilities VALUES ($1, $2) ON CONFLICT (username) DO UPDATE SET how = excluded.how`, username, string(how))
}

// hostilities are scenarios on a table that does not do what it is told.
var hostilities = map[string]scenario{
	"edit that the table refuses": hostileEdit(refuses),
	"edit that the table skips":   hostileEdit(skips),
	"edit that the table changes": hostileEdit(changes),
}

func hostileEdit(how hostility) scenario {
	return scenario{
		given: append(steps(create(roles("viewer")), ready), steps(func(r *run) { r.setHostility(r.name, how) }, always)...),
		when: append(
			steps(change(roles("operator"), active(false)), func(g gomega.Gomega, r *run) {
				is(v1alpha1.ReasonDatabaseRejected)(g, r)
				g.Expect(r.row(r.name).Roles).To(gomega.MatchJSON(`["viewer"]`))
				g.Expect(r.row(r.name).Active).To(gomega.Equal(how != changes))
			}),
			steps(func(r *run) { r.setHostility(r.name, "") }, func(g gomega.Gomega, r *run) {
				ready(g, r)
				g.Expect(r.row(r.name).Roles).To(gomega.MatchJSON(`["operator"]`))
			})...),
		wired: how == changes,
	}
}
