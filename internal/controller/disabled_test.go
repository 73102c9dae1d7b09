// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"testing"
	"time"

	"github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// has waits until a row has this hash, and is active or not.
func (s *story) has(username, hash string, active bool) {
	s.t.Helper()
	s.eventually(func(g gomega.Gomega) {
		row := s.row(username)
		g.Expect(row.Hash).To(gomega.Equal(hash))
		g.Expect(row.Active).To(gomega.Equal(active))
	})
}

// reactivated has another program activate a row and waits until the operator has corrected that.
func (s *story) reactivated(op *operator, u *v1alpha1.ShardingUser, set string) {
	s.t.Helper()
	before := op.metric(s.t, "shardinguser_drift_corrections_total", "active")
	s.sql(`UPDATE users SET active = true`+set+` WHERE username = $1`, u.Name)
	s.eventually(func(g gomega.Gomega) {
		g.Expect(op.metric(s.t, "shardinguser_drift_corrections_total", "active")).To(gomega.Equal(before + 1))
	})
	s.Expect(s.row(u.Name).Active).To(gomega.BeFalse())
}

func TestAnInactiveUserHasADisabledHash(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	secret := s.secret("alice", "password", canary+" first")
	u := s.readyUser("alice", secretRef("alice", ""))
	s.sql(`UPDATE users SET failed_login_attempts = 3`)
	before, changed := s.row("alice"), u.Status.PasswordChangedTime

	s.edit(u, active(false))
	s.ready(u)
	s.has("alice", user.DisabledHash(before.Hash), false)
	s.Expect(s.row("alice").Failed).To(gomega.Equal(3))
	s.Expect(s.note("alice").PasswordHash).To(gomega.Equal(before.Hash))
	s.Expect(u.Status.PasswordChangedTime).To(gomega.Equal(changed))
	s.reactivated(op, u, "")
	s.reactivated(op, u, `, password_hash = '`+before.Hash+`'`)
	s.has("alice", user.DisabledHash(before.Hash), false)

	s.edit(u, active(true))
	s.ready(u)
	s.has("alice", before.Hash, true)
	s.Expect(u.Status.PasswordChangedTime).To(gomega.Equal(changed))
	s.Expect(op.metric(t, "shardinguser_password_hashes_total")).To(gomega.BeEquivalentTo(1))
	s.Expect(op.metric(t, "shardinguser_drift_corrections_total")).To(gomega.BeEquivalentTo(2))
	s.told("alice", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventUpdated: 2, v1alpha1.EventDriftCorrected: 2})

	// A rotation meanwhile is one, and shows when the user is active again.
	s.edit(u, active(false))
	s.ready(u)
	s.put(secret, "password", canary+" second")
	s.eventually(func(g gomega.Gomega) { g.Expect(s.note("alice").PasswordHash).NotTo(gomega.Equal(before.Hash)) })
	s.has("alice", user.DisabledHash(s.note("alice").PasswordHash), false)
	s.edit(u, active(true))
	s.ready(u)
	s.Expect(s.row("alice").isOf(canary + " second")).To(gomega.BeTrue())
	s.Expect(op.metric(t, "shardinguser_password_hashes_total")).To(gomega.BeEquivalentTo(2))
	s.told("alice", map[string]int{
		v1alpha1.EventCreated: 1, v1alpha1.EventUpdated: 4, v1alpha1.EventDriftCorrected: 2, v1alpha1.EventPasswordChanged: 1,
	})
}

func TestAHashOfAnotherProgramIsDisabledInPlace(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.table()
	s.sql(`INSERT INTO users (username, password_hash, active) VALUES ('alice', $1, false)`, user.DisabledHash(aHash))
	op := s.start()
	u := s.readyUser("alice", adopt(v1alpha1.AdoptionIfUnowned))
	s.has("alice", aHash, true)

	s.edit(u, active(false))
	s.ready(u)
	s.has("alice", user.DisabledHash(aHash), false)
	s.sql(`UPDATE users SET password_hash = $1`, anotherHash)
	s.has("alice", user.DisabledHash(anotherHash), false)
	s.reactivated(op, u, `, password_hash = '`+aHash+`'`)
	s.has("alice", user.DisabledHash(aHash), false)
	s.edit(u, active(true))
	s.ready(u)
	s.has("alice", aHash, true)
	s.Expect(op.metric(t, "shardinguser_drift_corrections_total", "password_hash")).To(gomega.BeZero())
	s.Expect(s.events(s, "alice")).To(gomega.HaveKeyWithValue(v1alpha1.EventDriftCorrected, 1), "of active")
}

// An older version left inactive rows with usable hashes.
func TestAnUpgradeDisablesHashesOnce(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	s.secret("ours", "password", aHash)
	s.readyUser("ours", hashedSecret("ours"), active(false))
	theirs := s.readyUser("theirs", active(false))
	op.stop()
	s.sql(`UPDATE users SET password_hash = $1`, aHash)
	events := s.events(s, "ours")

	op = s.start()
	s.has("ours", user.DisabledHash(aHash), false)
	s.has("theirs", user.DisabledHash(aHash), false)
	s.ready(theirs)
	before := s.row("ours")
	s.Expect(op.metric(t, "shardinguser_drift_corrections_total")).To(gomega.BeZero())
	s.Expect(op.metric(t, "shardinguser_password_hashes_total")).To(gomega.BeZero())
	s.told("ours", events)
	s.Expect(s.row("ours")).To(gomega.Equal(before), "one write")
}

// Above all the row becomes inactive.
func TestATableThatTakesNoDisabledHashIsReported(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		given, says, drop string
		event             string // of the change that makes the row inactive
	}{
		"a constraint": {
			`ALTER TABLE users ADD CONSTRAINT a_hash CHECK (password_hash LIKE '$2%')`, "a_hash", `ALTER TABLE users DROP CONSTRAINT a_hash`,
			v1alpha1.EventUpdated,
		},
		"a trigger that refuses": {
			trigger("keep_hash", "BEFORE UPDATE", `IF NEW.password_hash NOT LIKE '$2%' THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW;`),
			"keep_hash", `DROP TRIGGER keep_hash ON users`, v1alpha1.EventUpdated,
		},
		"a trigger that refuses as for a missing right": {
			trigger("keep_hash", "BEFORE UPDATE", `IF NEW.password_hash NOT LIKE '$2%' THEN
				RAISE EXCEPTION 'no' USING ERRCODE = 'insufficient_privilege'; END IF; RETURN NEW;`),
			"", `DROP TRIGGER keep_hash ON users`, v1alpha1.EventUpdated,
		},
		"a trigger that refuses with a SQLSTATE of its own": {
			trigger("keep_hash", "BEFORE UPDATE", `IF NEW.password_hash NOT LIKE '$2%' THEN
				RAISE EXCEPTION 'no' USING ERRCODE = 'PW001'; END IF; RETURN NEW;`),
			"", `DROP TRIGGER keep_hash ON users`, v1alpha1.EventUpdated,
		},
		"a trigger that keeps the hash": {
			trigger("keep_hash", "BEFORE UPDATE", `IF NEW.password_hash NOT LIKE '$2%' THEN NEW.password_hash := OLD.password_hash; END IF; RETURN NEW;`),
			"keep_hash", `DROP TRIGGER keep_hash ON users`, v1alpha1.EventUpdated,
		},
		"a trigger that keeps the row": {
			trigger("keep_hash", "BEFORE UPDATE", `IF NEW.password_hash NOT LIKE '$2%' THEN RETURN OLD; END IF; RETURN NEW;`),
			"keep_hash", `DROP TRIGGER keep_hash ON users`, v1alpha1.EventDriftCorrected, // the generation is noted by then
		},
		"a trigger that skips the write": {
			trigger("keep_hash", "BEFORE UPDATE", `IF NEW.password_hash NOT LIKE '$2%' THEN RETURN NULL; END IF; RETURN NEW;`),
			"keep_hash", `DROP TRIGGER keep_hash ON users`, v1alpha1.EventUpdated,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			op := s.start()
			s.secret("alice", "password", aHash)
			u := s.readyUser("alice", hashedSecret("alice"))
			leaver := s.readyUser("leaver", hashedSecret("alice"), deletion(v1alpha1.DeletionDeactivate))
			s.sql(tt.given)

			s.edit(u, active(false))
			c := s.reports(u, v1alpha1.ReasonDatabaseRejected)
			s.Expect(c.Message).To(gomega.ContainSubstring("The row is inactive, but the operator cannot disable its password hash."))
			s.Expect(c.Message).To(gomega.ContainSubstring(tt.says))
			s.Expect(meta.IsStatusConditionTrue(u.Status.Conditions, v1alpha1.ConditionStalled)).To(gomega.BeTrue())
			s.has("alice", aHash, false)
			s.Expect(s.note("alice").Generation).To(gomega.Equal(u.Generation))
			s.told("alice", map[string]int{
				v1alpha1.EventCreated: 1, tt.event: 1, v1alpha1.ReasonDatabaseRejected: 1,
			})

			// That is no hot loop, and does not keep drift of active from being corrected.
			writes, before := op.metric(t, "shardinguser_rejected_writes_total"), s.row("alice")
			s.Consistently(func() *row { return s.row("alice") }).
				WithTimeout(time.Second).WithPolling(50 * time.Millisecond).Should(gomega.Equal(before))
			s.Expect(op.metric(t, "shardinguser_rejected_writes_total")).To(gomega.Equal(writes))
			s.reactivated(op, u, "")
			s.reports(u, v1alpha1.ReasonDatabaseRejected)

			s.remove(leaver)
			s.has("leaver", aHash, false)
			s.eventually(func(g gomega.Gomega) {
				g.Expect(s.events(g, "leaver")).To(gomega.HaveKeyWithValue(v1alpha1.ReasonDatabaseRejected, 1))
				g.Expect(s.events(g, "leaver")).To(gomega.HaveKeyWithValue(v1alpha1.EventDeactivated, 1))
			})

			s.sql(tt.drop)
			s.edit(u, roles("viewer")) // has it retried at once
			s.ready(u)
			s.has("alice", user.DisabledHash(aHash), false)
		})
	}
}

// A trigger that raises a conflict looks like another writer. The row still becomes inactive.
func TestAConflictOverAHashKeepsNoRowActive(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	op := s.start()
	s.secret("alice", "password", aHash)
	u := s.readyUser("alice", hashedSecret("alice"))
	leaver := s.readyUser("leaver", hashedSecret("alice"), deletion(v1alpha1.DeletionDeactivate))
	s.sql(trigger("keep_hash", "BEFORE UPDATE", `IF NEW.password_hash NOT LIKE '$2%' THEN
		RAISE EXCEPTION 'no' USING ERRCODE = 'serialization_failure'; END IF; RETURN NEW;`))

	s.edit(u, active(false))
	s.has("alice", aHash, false)
	c := s.reports(u, v1alpha1.ReasonDatabaseRejected)
	s.Expect(c.Message).To(gomega.ContainSubstring("40001"))
	before := s.row("alice")
	s.Consistently(func() *row { return s.row("alice") }).
		WithTimeout(time.Second).WithPolling(50 * time.Millisecond).Should(gomega.Equal(before))
	s.reactivated(op, u, "")

	s.remove(leaver)
	s.has("leaver", aHash, false)

	s.sql(`DROP TRIGGER keep_hash ON users`)
	s.edit(u, roles("viewer"))
	s.ready(u)
	s.has("alice", user.DisabledHash(aHash), false)
}
