// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// trigger is SQL that makes a row trigger on users, with this timing and body.
func trigger(name, timing, body string) string {
	return `CREATE FUNCTION ` + name + `() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ` + body + ` END $$;
		CREATE TRIGGER ` + name + ` ` + timing + ` ON users FOR EACH ROW EXECUTE FUNCTION ` + name + `()`
}

// A write that the database took, and did not keep as it was meant, is reported; and so is one that it refuses.
func TestARowThatTheDatabaseRefusesOrDoesNotKeepIsReported(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		given    string // what another program did to the table
		existing string // a row of its own
		edits    []edit // of the user that is created
		says     []string
		stays    bool // the row is there, and its owner's
	}{
		"a unique index on lower(username)": {
			given:    `CREATE UNIQUE INDEX users_lower ON users (lower(username))`,
			existing: `INSERT INTO users (username, password_hash) VALUES ('ALICE', 'theirs')`,
			says:     []string{"users_lower", "23505"},
		},
		"a column that must have a value": {
			given: `ALTER TABLE users ADD COLUMN email TEXT NOT NULL`,
			says:  []string{"email", "23502"},
		},
		"a check constraint": {
			given: `ALTER TABLE users ADD CONSTRAINT no_viewers CHECK (NOT roles ? 'viewer')`,
			says:  []string{"no_viewers", "23514"},
		},
		"an exclusion constraint": {
			given:    `ALTER TABLE users ADD COLUMN tenant TEXT DEFAULT 'one', ADD CONSTRAINT one_each EXCLUDE (tenant WITH =)`,
			existing: `INSERT INTO users (username, password_hash) VALUES ('bob', 'theirs')`,
			says:     []string{"one_each", "23P01"},
		},
		"a foreign key to a directory of people": {
			given: `CREATE TABLE people (name VARCHAR(255) PRIMARY KEY);
				ALTER TABLE users ADD CONSTRAINT known_people FOREIGN KEY (username) REFERENCES people (name)`,
			says: []string{"known_people", "23503"},
		},
		"a trigger that raises P0001": {
			given: trigger("no_entry", "BEFORE INSERT", `RAISE EXCEPTION 'c4n4ry';`),
			says:  []string{"no_entry", "P0001"},
		},
		"a trigger that raises a missing right": {
			given: trigger("no_entry", "BEFORE INSERT", `RAISE insufficient_privilege;`),
			says:  []string{"no_entry", "42501"},
		},
		"a trigger that calls what is not there": {
			given: trigger("no_entry", "AFTER INSERT", `PERFORM no_such_function(NEW.username); RETURN NULL;`),
			says:  []string{"no_entry", "42883"},
		},
		"a trigger that reads what is not there": {
			given: trigger("no_entry", "AFTER INSERT", `PERFORM * FROM no_such_table; RETURN NULL;`),
			says:  []string{"no_entry", "42P01"},
		},
		"a trigger that raises a full disk": {
			given: trigger("no_entry", "BEFORE INSERT", `RAISE disk_full;`),
			says:  []string{"no_entry", "53100"},
		},
		"a trigger that raises a read-only database": {
			given: trigger("no_entry", "BEFORE INSERT", `RAISE read_only_sql_transaction;`),
			says:  []string{"no_entry", "25006"},
		},
		"a trigger that raises a lost connection": {
			given: trigger("no_entry", "BEFORE INSERT", `RAISE EXCEPTION USING ERRCODE = '08006';`),
			says:  []string{"no_entry", "08006"},
		},
		"a trigger that raises a serialization failure": {
			given: trigger("no_entry", "BEFORE INSERT", `RAISE serialization_failure;`),
			says:  []string{"40001"},
		},
		"a trigger that raises a canceled statement": {
			given: trigger("no_entry", "BEFORE INSERT", `RAISE query_canceled;`),
			says:  []string{"no_entry", "57014"},
		},
		"a trigger that raises a lock": {
			given: trigger("no_entry", "BEFORE INSERT", `RAISE lock_not_available;`),
			says:  []string{"no_entry", "55P03"},
		},
		"a trigger in C that needs what is not there": {
			given: `ALTER TABLE users ADD words TSVECTOR, ADD email TEXT; CREATE TRIGGER words BEFORE INSERT ON users FOR EACH ROW
				EXECUTE FUNCTION tsvector_update_trigger(words, 'pg_catalog.english', email); ALTER TABLE users DROP email`,
			says: []string{"words", "42703"},
		},
		"a trigger that gives the row another name": {
			given: trigger("rename", "BEFORE INSERT", `NEW.username := 'mallory'; RETURN NEW;`),
			says:  []string{"rename", "another username"},
		},
		"a trigger whose own row refers to nothing": {
			given: `CREATE TABLE people (name TEXT PRIMARY KEY); CREATE TABLE audit (name TEXT CONSTRAINT audited REFERENCES people);` +
				trigger("audit", "AFTER INSERT", `INSERT INTO audit VALUES (NEW.username); RETURN NULL;`),
			says: []string{"audited", "refers to a row that does not exist"},
		},
		"a deferred constraint trigger": {
			given: `CREATE FUNCTION no_entry() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
				CREATE CONSTRAINT TRIGGER no_entry AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION no_entry()`,
			says: []string{"no_entry", "P0001"},
		},
		"a rule in place of the INSERT": {
			given: `CREATE RULE elsewhere AS ON INSERT TO users DO INSTEAD NOTHING`,
			says:  []string{"elsewhere"},
		},
		"a trigger that skips the INSERT": {
			given: trigger("skip", "BEFORE INSERT", `RETURN NULL;`),
			says:  []string{"skip", "did not keep it"},
		},
		"a trigger that deletes the row again": {
			given: trigger("undo", "AFTER INSERT", `DELETE FROM users WHERE username = NEW.username; RETURN NULL;`),
			says:  []string{"undo"},
		},
		"roles of type text[]": {
			given: `ALTER TABLE users ALTER roles DROP DEFAULT, ALTER roles TYPE TEXT[] USING '{}'`,
			says:  []string{"roles", "text[]"},
		},
		"a generated column": {
			given: `ALTER TABLE users DROP COLUMN active; ALTER TABLE users ADD COLUMN active BOOLEAN GENERATED ALWAYS AS (true) STORED`,
			says:  []string{"active", "428C9"},
		},
		"a hash column that is too narrow": {
			given: `ALTER TABLE users ALTER password_hash TYPE VARCHAR(59)`,
			says:  []string{"password_hash", "22001"},
		},
		"a hash column that pads": {
			given: `ALTER TABLE users ALTER password_hash TYPE CHAR(72)`,
			says:  []string{"password_hash", "character(72)"}, stays: true,
		},
		"a trigger that rewrites the hash": {
			given: trigger("as_php", "BEFORE INSERT OR UPDATE", `NEW.password_hash := replace(NEW.password_hash, '$2a$', '$2y$'); RETURN NEW;`),
			says:  []string{"password_hash", "as_php"}, stays: true,
		},
		"a trigger that lowers roles": {
			given: trigger("lower_roles", "BEFORE INSERT OR UPDATE", `NEW.roles := lower(NEW.roles::text)::jsonb; RETURN NEW;`),
			edits: []edit{roles("Viewer")},
			says:  []string{"roles", "lower_roles"}, stays: true,
		},
		"a trigger that keeps accounts active": {
			given: trigger("keep_active", "BEFORE INSERT OR UPDATE", `NEW.active := true; RETURN NEW;`),
			edits: []edit{active(false)},
			says:  []string{"active", "keep_active", "no password matches"}, stays: true,
		},
		"a trigger that sets another value afterwards": {
			given: trigger("keep_active", "AFTER INSERT OR UPDATE",
				`UPDATE users SET active = true WHERE username = NEW.username AND NOT active; RETURN NULL;`),
			edits: []edit{active(false)},
			says:  []string{"active", "keep_active"}, stays: true,
		},
		"a deferred trigger that sets another value at the commit": {
			given: `CREATE FUNCTION keep_active() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
					UPDATE users SET active = true WHERE username = NEW.username AND NOT active; RETURN NULL; END $$;
				CREATE CONSTRAINT TRIGGER keep_active AFTER INSERT OR UPDATE ON users DEFERRABLE INITIALLY DEFERRED
					FOR EACH ROW EXECUTE FUNCTION keep_active()`,
			edits: []edit{active(false)},
			says:  []string{"active", "keep_active"}, stays: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			s.quick = true
			s.table()
			s.sql(tt.given)
			if tt.existing != "" {
				s.sql(tt.existing)
			}
			op := s.start()
			s.secret("alice", "password", canary+" password")
			u := s.user("alice", append([]edit{secretRef("alice", ""), roles("viewer")}, tt.edits...)...)
			c := s.reports(u, v1alpha1.ReasonDatabaseRejected)
			s.Expect(c.Status).To(gomega.Equal(metav1.ConditionFalse))
			for _, words := range tt.says {
				s.Expect(c.Message).To(gomega.ContainSubstring(words))
			}
			s.Expect(c.Message).NotTo(gomega.ContainSubstring(canary))
			stalled := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionStalled)
			s.Expect(stalled).NotTo(gomega.BeNil())
			s.told("alice", map[string]int{v1alpha1.ReasonDatabaseRejected: 1})
			s.Expect(s.row("alice") != nil).To(gomega.Equal(tt.stays))

			// It concerns this user alone, and is not written over and over.
			_, writing := op.trouble()
			s.Expect(writing).NotTo(gomega.HaveOccurred())
			before, writes := s.row("alice"), op.metric(t, "shardinguser_rejected_writes_total")
			s.Consistently(func() float64 { return op.metric(t, "shardinguser_rejected_writes_total") }).
				WithTimeout(2 * time.Second).WithPolling(50 * time.Millisecond).Should(gomega.Equal(writes))
			s.Expect(s.row("alice")).To(gomega.Equal(before))
		})
	}
}

// A deletion is over only when the row is gone, or inactive where that was asked for.
func TestADeletionThatTheDatabaseDoesNotCarryOutWaitsAndSaysWhy(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		given  string
		policy v1alpha1.DeletionPolicy
		says   []string
		drop   string // what lets the deletion go on
	}{
		"a soft delete": {
			given: trigger("soft_delete", "BEFORE DELETE", `UPDATE users SET locked_until = '2099-01-01' WHERE username = OLD.username; RETURN NULL;`),
			says:  []string{"soft_delete", "still exists"}, drop: `DROP TRIGGER soft_delete ON users`,
		},
		"a row that comes back": {
			given: trigger("archive", "AFTER DELETE", `INSERT INTO users SELECT OLD.*; RETURN NULL;`),
			says:  []string{"archive"}, drop: `DROP TRIGGER archive ON users`,
		},
		"a row that comes back at the commit": {
			given: `CREATE FUNCTION archive() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO users SELECT OLD.*; RETURN NULL; END $$;
				CREATE CONSTRAINT TRIGGER archive AFTER DELETE ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION archive()`,
			says: []string{"archive", "the row is back"}, drop: `DROP TRIGGER archive ON users`,
		},
		"an archive that takes each name once": {
			given: `CREATE TABLE archive (username TEXT CONSTRAINT archived_once PRIMARY KEY); INSERT INTO archive VALUES ('alice');` +
				trigger("archive", "BEFORE DELETE", `INSERT INTO archive VALUES (OLD.username); RETURN OLD;`),
			says: []string{"archived_once", "23505"}, drop: `DROP TRIGGER archive ON users`,
		},
		"a unique index that only the deactivation violates": {
			given: `INSERT INTO users (username, password_hash, active) VALUES ('bob', 'x', false);
				CREATE UNIQUE INDEX one_inactive ON users (active) WHERE NOT active`, policy: v1alpha1.DeletionDeactivate,
			says: []string{"one_inactive", "23505"}, drop: `DROP INDEX one_inactive`,
		},
		"a deactivation that is undone at the commit": {
			given: `CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
					UPDATE users SET active = true WHERE username = NEW.username AND NOT active; RETURN NULL; END $$;
				CREATE CONSTRAINT TRIGGER undo AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION undo()`,
			policy: v1alpha1.DeletionDeactivate, says: []string{"undo"}, drop: `DROP TRIGGER undo ON users`,
		},
		"a rule in place of the DELETE": {
			given: `CREATE RULE keep AS ON DELETE TO users DO INSTEAD NOTHING`,
			says:  []string{"keep"}, drop: `DROP RULE keep ON users`,
		},
		"a foreign key that restricts": {
			given: `CREATE TABLE orders (username VARCHAR(255) CONSTRAINT ordered_by REFERENCES users ON DELETE RESTRICT);
				INSERT INTO orders VALUES ('alice')`,
			says: []string{"orders", "ordered_by", "Deactivate"}, drop: `DELETE FROM orders`,
		},
		"a trigger that refuses": {
			given: trigger("for_good", "BEFORE DELETE", `RAISE EXCEPTION 'no';`),
			says:  []string{"for_good"}, drop: `DROP TRIGGER for_good ON users`,
		},
		"a deactivation that is skipped": {
			given: trigger("skip", "BEFORE UPDATE", `RETURN NULL;`), policy: v1alpha1.DeletionDeactivate,
			says: []string{"skip", "can log in"}, drop: `DROP TRIGGER skip ON users`,
		},
		"a deactivation that is undone": {
			given:  trigger("undo", "AFTER UPDATE", `UPDATE users SET active = true WHERE username = NEW.username AND NOT active; RETURN NULL;`),
			policy: v1alpha1.DeletionDeactivate, says: []string{"undo"}, drop: `DROP TRIGGER undo ON users`,
		},
		"a deactivation that is changed": {
			given: trigger("keep", "BEFORE UPDATE", `NEW.active := true; RETURN NEW;`), policy: v1alpha1.DeletionDeactivate,
			says: []string{"keep", "can log in"}, drop: `DROP TRIGGER keep ON users`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			s.quick = true
			s.start()
			u := s.readyUser("alice", deletion(tt.policy))
			s.sql(tt.given)
			s.Expect(s.kube.Delete(t.Context(), u)).To(gomega.Succeed())
			c := s.reports(u, v1alpha1.ReasonDatabaseRejected)
			for _, words := range tt.says {
				s.Expect(c.Message).To(gomega.ContainSubstring(words))
			}
			s.Expect(s.row("alice")).NotTo(gomega.BeNil())
			s.Expect(s.events(s, "alice")).NotTo(gomega.HaveKey(v1alpha1.EventDeleted))
			s.Expect(s.events(s, "alice")).NotTo(gomega.HaveKey(v1alpha1.EventDeactivated))

			// An edit has it tried again at once, where the row itself does not.
			s.sql(tt.drop)
			base := u.DeepCopy()
			annotation(v1alpha1.AnnotationUnlockRequestedAt, "now")(u)
			s.Expect(client.IgnoreNotFound(s.kube.Patch(t.Context(), u, client.MergeFrom(base)))).To(gomega.Succeed())
			s.gone(u)
			if tt.policy == v1alpha1.DeletionDeactivate {
				s.Expect(s.row("alice").Active).To(gomega.BeFalse())
			} else {
				s.Expect(s.row("alice")).To(gomega.BeNil())
			}
		})
	}
}

// A program that puts its own value back again and again is not answered with an endless loop.
func TestARowThatAnotherProgramChangesAgainAndAgainIsContended(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.quick = true
	op := s.start()
	u := s.readyUser("alice", roles("viewer"))
	other := s.readyUser("bob", roles("viewer"))
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				_, _ = s.db.Exec(t.Context(), `UPDATE users SET roles = '["admin"]' WHERE username = 'alice' AND roles <> '["admin"]'`)
			}
		}
	}()
	c := s.reports(u, v1alpha1.ReasonDatabaseRejected)
	s.Expect(c.Message).To(gomega.ContainSubstring("Contended"))
	s.Expect(c.Message).To(gomega.ContainSubstring("roles"))
	s.Expect(op.metric(t, "shardinguser_contended_accounts")).To(gomega.BeEquivalentTo(1))
	corrections := op.metric(t, "shardinguser_drift_corrections_total", "roles")
	s.Expect(corrections).To(gomega.BeNumerically("<=", 12))
	s.Consistently(func() float64 { return op.metric(t, "shardinguser_drift_corrections_total", "roles") }).
		WithTimeout(3 * time.Second).WithPolling(50 * time.Millisecond).Should(gomega.Equal(corrections))
	s.sql(`UPDATE users SET active = false WHERE username = 'bob'`)
	s.eventually(func(g gomega.Gomega) {
		g.Expect(s.row("bob").Active).To(gomega.BeTrue(), "others are put back as before")
	})
	s.ready(other)

	close(stop)
	<-stopped
	s.edit(u, roles("viewer", "operator")) // wakes it
	s.ready(u)
	s.Expect(s.row("alice").Roles).To(gomega.MatchJSON(`["viewer", "operator"]`))
}

// A trigger that locks an account again makes a request to unlock it fail, and nothing says otherwise.
func TestAnUnlockingThatATriggerUndoesIsNoUnlocking(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.quick = true
	s.start()
	u := s.readyUser("alice")
	s.sql(`UPDATE users SET locked_until = '2099-01-01'`)
	s.sql(trigger("relock", "AFTER UPDATE", `UPDATE users SET locked_until = '2099-01-01' WHERE username = NEW.username AND locked_until IS NULL;
		RETURN NULL;`))
	s.edit(u, annotation(v1alpha1.AnnotationUnlockRequestedAt, "now"))
	c := s.reports(u, v1alpha1.ReasonDatabaseRejected)
	s.Expect(c.Message).To(gomega.ContainSubstring("relock"))
	s.Expect(c.Message).To(gomega.ContainSubstring("locked again"))
	s.Expect(u.Status.LastHandledUnlock).To(gomega.BeEmpty())
	s.Expect(s.events(s, "alice")).NotTo(gomega.HaveKey(v1alpha1.EventUnlocked))
}

// A resource that is gone without its finalizer leaves no row behind once the database lets the row go.
func TestARowOfAVanishedResourceGoesOnceTheDatabaseLetsIt(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.quick, s.retry = true, time.Second
	op := s.start()
	u := s.readyUser("alice")
	s.sql(trigger("keep", "BEFORE DELETE", `RAISE EXCEPTION 'no';`))
	s.Expect(s.kube.Delete(t.Context(), u)).To(gomega.Succeed())
	s.reports(u, v1alpha1.ReasonDatabaseRejected)
	refused := op.metric(t, "shardinguser_rejected_writes_total")
	s.edit(u, func(u *v1alpha1.ShardingUser) { u.Finalizers = nil })
	s.gone(u)
	s.eventually(func(g gomega.Gomega) {
		g.Expect(op.metric(t, "shardinguser_rejected_writes_total")).To(gomega.BeNumerically(">", refused))
	})
	s.sql(`DROP TRIGGER keep ON users`)
	s.eventually(func(g gomega.Gomega) { g.Expect(s.row("alice")).To(gomega.BeNil()) })
}

// Sixty rows that one long transaction locks hold up no other user, and say what stands in the way.
func TestSixtyLockedRowsHoldUpNoOtherUser(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.quick = true
	op := s.start()
	s.newUsers("held", 60)
	s.allReady("held", 60)
	bob := s.readyUser("bob")
	tx, err := s.db.Begin(t.Context())
	s.Expect(err).NotTo(gomega.HaveOccurred())
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	_, err = tx.Exec(t.Context(), "SELECT FROM users WHERE username <> 'bob' FOR UPDATE")
	s.Expect(err).NotTo(gomega.HaveOccurred())
	var list v1alpha1.ShardingUserList
	s.Expect(s.kube.List(t.Context(), &list, client.InNamespace(s.namespace))).To(gomega.Succeed())
	for i := range list.Items {
		if list.Items[i].Name != "bob" {
			s.edit(&list.Items[i], roles("viewer"))
		}
	}
	var longest time.Duration
	for _, role := range []v1alpha1.Role{"a", "b", "c", "d", "e", "f", "g", "h"} {
		began := time.Now()
		s.edit(bob, roles(role))
		s.eventually(func(g gomega.Gomega) { g.Expect(s.row("bob").Roles).To(gomega.MatchJSON(`["` + string(role) + `"]`)) })
		longest = max(longest, time.Since(began))
	}
	t.Logf("at most %v", longest.Round(time.Millisecond))
	s.Expect(longest).To(gomega.BeNumerically("<", 2*time.Second))
	s.readyUser("carol")
	s.eventually(func(g gomega.Gomega) {
		g.Expect(s.kube.List(t.Context(), &list, client.InNamespace(s.namespace))).To(gomega.Succeed())
		for _, u := range list.Items {
			ready := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
			g.Expect(ready).NotTo(gomega.BeNil())
			if u.Name != "bob" && u.Name != "carol" {
				g.Expect(ready.Message).To(gomega.ContainSubstring("holds a lock on the row"))
			}
		}
	})
	s.Expect(op.database.Up()).To(gomega.BeTrue())
	s.Expect(tx.Rollback(t.Context())).To(gomega.Succeed())
	s.allReady("held", 60)
}
