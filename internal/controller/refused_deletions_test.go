// SPDX-License-Identifier: Apache-2.0

package controller_test

import "github.com/sharding-system/shardinguser-operator/api/v1alpha1"

// A refusedDeletion is a table that does not carry a deletion out.
type refusedDeletion struct {
	short  bool // one of its kind, for a short run
	given  string
	policy v1alpha1.DeletionPolicy
	says   []string
	drop   string // what lets the deletion go on
}

// refusedDeletions hold in short runs one of each kind: what is skipped, what is undone, for rows and for their activity, and a
// constraint.
var refusedDeletions = map[string]refusedDeletion{
	"a soft delete": {
		short: true,
		given: trigger("soft_delete", "BEFORE DELETE", `UPDATE users SET locked_until = '2099-01-01' WHERE username = OLD.username; RETURN NULL;`),
		says:  []string{"soft_delete", "still exists"}, drop: `DROP TRIGGER soft_delete ON users`,
	},
	"a row that comes back": {
		given: trigger("archive", "AFTER DELETE", `INSERT INTO users SELECT OLD.*; RETURN NULL;`),
		says:  []string{"archive"}, drop: `DROP TRIGGER archive ON users`,
	},
	"a row that comes back at the commit": {
		short: true,
		given: `CREATE FUNCTION archive() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO users SELECT OLD.*; RETURN NULL; END $$;
			CREATE CONSTRAINT TRIGGER archive AFTER DELETE ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION archive()`,
		says: []string{"archive", "the row was created or activated again"}, drop: `DROP TRIGGER archive ON users`,
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
		short: true,
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
		short: true,
		given: `CREATE TABLE orders (username VARCHAR(255) CONSTRAINT ordered_by REFERENCES users ON DELETE RESTRICT);
			INSERT INTO orders VALUES ('alice')`,
		says: []string{"orders", "ordered_by", "Deactivate"}, drop: `DELETE FROM orders`,
	},
	"a trigger that refuses": {
		given: trigger("for_good", "BEFORE DELETE", `RAISE EXCEPTION 'no';`),
		says:  []string{"for_good"}, drop: `DROP TRIGGER for_good ON users`,
	},
	"a deactivation that is skipped": {
		short: true,
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
}
