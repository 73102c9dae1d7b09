// SPDX-License-Identifier: Apache-2.0

package controller_test

// A refusedRow is a table that refuses a new row, or does not keep it as it is written.
type refusedRow struct {
	short    bool   // one of its kind, for a short run
	given    string // what another program did to the table
	existing string // a row of its own
	edits    []edit // of the user that is created
	says     []string
	stays    bool // the row is there, and its owner's
}

// refusedRows hold in short runs one of each kind: a constraint, an error that looks like an outage, one that is tried again, one
// that comes with the commit, a write that is skipped, a column that takes none, and values that are changed at once or later.
var refusedRows = map[string]refusedRow{
	"a unique index on lower(username)": {
		short:    true,
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
		short: true,
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
		short: true,
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
		short: true,
		given: `CREATE FUNCTION no_entry() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
			CREATE CONSTRAINT TRIGGER no_entry AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION no_entry()`,
		says: []string{"no_entry", "P0001"},
	},
	"a rule in place of the INSERT": {
		short: true,
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
		short: true,
		given: `ALTER TABLE users DROP COLUMN active; ALTER TABLE users ADD COLUMN active BOOLEAN GENERATED ALWAYS AS (true) STORED`,
		says:  []string{"active", "428C9"},
	},
	"a hash column that is too narrow": {
		given: `ALTER TABLE users ALTER password_hash TYPE VARCHAR(59)`,
		says:  []string{"password_hash", "22001"},
	},
	"a hash column that pads": {
		short: true,
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
		short: true,
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
		short: true,
		given: `CREATE FUNCTION keep_active() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				UPDATE users SET active = true WHERE username = NEW.username AND NOT active; RETURN NULL; END $$;
			CREATE CONSTRAINT TRIGGER keep_active AFTER INSERT OR UPDATE ON users DEFERRABLE INITIALLY DEFERRED
				FOR EACH ROW EXECUTE FUNCTION keep_active()`,
		edits: []edit{active(false)},
		says:  []string{"active", "keep_active"}, stays: true,
	},
}
