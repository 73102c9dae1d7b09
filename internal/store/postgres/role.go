// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
)

// Role is the purpose of the database role of a store, and so what it needs to be granted.
type Role int

const (
	// RoleBoth is for everything, where there is one role.
	RoleBoth Role = iota

	// RoleController creates the schema, and writes the accounts as the resources declare them.
	RoleController

	// RoleLogin charges and settles logins. It creates no table and no trigger, and waits for those of the controller's store.
	RoleLogin
)

// makesSchema reports whether the role creates missing tables and triggers.
func (r Role) makesSchema() bool { return r != RoleLogin }

// servesLogins reports whether logins are charged and settled by the role.
func (r Role) servesLogins() bool { return r != RoleController }

// of returns the beginning of a sentence where it could be about either of two DSNs.
func (r Role) of() string {
	switch r {
	case RoleController:
		return "The controller's DSN: "
	case RoleLogin:
		return "The login DSN: "
	case RoleBoth:
	}
	return ""
}

// aboutDSN returns the sentence with the DSN that it is about, once.
func (r Role) aboutDSN(sentence string) string {
	if strings.HasPrefix(sentence, r.of()) {
		return sentence
	}
	return r.of() + sentence
}

// tables returns the query that checks all tables which the role needs.
func (r Role) tables() string {
	switch r {
	case RoleController:
		return lookAtRecords + lookAtChanges
	case RoleLogin:
		return lookAtRecords + lookAtMerges
	case RoleBoth:
	}
	return lookAtRecords + lookAtChanges + lookAtMerges
}

// readColumns are all columns of the table users that the operator reads.
const readColumns = "username, password_hash, roles, active, last_login_at, failed_login_attempts, locked_until"

// changeColumns are the columns of account_changes that the operator writes. Nobody changes a row.
const changeColumns = "changed_at, username, action, old_roles, new_roles, old_active, new_active, password_changed, " +
	"cluster, system, namespace, name, uid, generation, manager, reason"

// probing is what each role needs to probe: it writes a row of its own, and locks and deletes old ones.
const probing = "SELECT (id, probed_at), INSERT (id), UPDATE (probed_at), DELETE"

// right is what a role needs of a table, as a GRANT writes it.
type right struct{ table, privileges string }

// rights are what each role needs, and no more. config/database/roles.sql grants them, which a test compares.
func (r Role) rights() []right {
	switch r {
	case RoleController:
		return []right{
			{schema.Users, "SELECT (" + readColumns + "), INSERT (username, password_hash, roles, active, created_at, updated_at), " +
				"UPDATE (password_hash, roles, active, updated_at, failed_login_attempts, locked_until), DELETE"},
			{schema.Ownership, "SELECT, INSERT, UPDATE, DELETE"},
			{schema.Attempts, "SELECT (id, username, attempted_at, outcome, locked_until, source, user_agent, attempt_key, attempts)"},
			{schema.Changes, "SELECT, INSERT (" + changeColumns + "), DELETE"},
			{schema.Probes, probing},
			{schema.Familiar, "SELECT (username, failed_login_attempts, locked_until), UPDATE (failed_login_attempts, locked_until), DELETE"},
			{schema.Versions, "SELECT"},
		}
	case RoleLogin:
		return []right{
			{schema.Users, "SELECT (" + readColumns + "), UPDATE (failed_login_attempts, locked_until, last_login_at)"},
			{schema.Ownership, "SELECT"},
			{schema.Attempts, "SELECT (id, username, attempted_at, outcome, locked_until, user_agent, attempt_key, attempts, familiar), " +
				"INSERT (username, attempted_at, outcome, locked_until, source, user_agent, attempt_key, familiar), UPDATE (outcome, attempts), DELETE"},
			{schema.Merges, "SELECT (id, merged_at), INSERT (id), UPDATE (merged_at), DELETE"},
			{schema.Probes, probing},
			{schema.Familiar, "SELECT, INSERT, UPDATE, DELETE"},
			{schema.Versions, "SELECT"},
		}
	case RoleBoth:
	}
	return []right{{
		strings.Join([]string{schema.Users, schema.Ownership, schema.Attempts, schema.Changes, schema.Merges, schema.Probes, schema.Familiar}, ", "), "SELECT, INSERT, UPDATE, DELETE",
	}}
}

// onTable is the GRANT of what the role needs of a table.
func (r Role) onTable(table, to string) string {
	privileges := "SELECT, INSERT, UPDATE, DELETE"
	if i := slices.IndexFunc(r.rights(), func(has right) bool { return has.table == table }); i >= 0 {
		privileges = r.rights()[i].privileges
	}
	return grant(right{quoted(table, schema.Users), privileges}, to)
}

// onAll is the GRANTs of what the role needs of all tables.
func (r Role) onAll(to string) string {
	var grants []string
	for _, has := range r.rights() {
		grants = append(grants, grant(has, to))
	}
	return strings.Join(grants, "; ")
}

// onSchema is the GRANT of what the role needs of the schema.
func (r Role) onSchema(schema, to string) string {
	privileges := "USAGE, CREATE"
	if !r.makesSchema() {
		privileges = "USAGE"
	}
	return fmt.Sprintf("GRANT %s ON SCHEMA %s TO %s", privileges, schema, to)
}

func grant(has right, to string) string {
	return fmt.Sprintf("GRANT %s ON TABLE %s TO %s", has.privileges, has.table, to)
}

// privilege is one of a GRANT, with its columns where it has some.
var privilege = regexp.MustCompile(`([A-Z]+)(?: \(([^)]*)\))?`)

// needs lists what the role needs: a table, a column or "", and a privilege. One role for everything needs what the other two
// need together.
func (r Role) needs() (tables, columns, privileges []string) {
	roles := []Role{r}
	if r == RoleBoth {
		roles = []Role{RoleController, RoleLogin}
	}
	for _, role := range roles {
		for _, has := range role.rights() {
			for _, match := range privilege.FindAllStringSubmatch(has.privileges, -1) {
				for column := range strings.SplitSeq(match[2], ", ") {
					tables, columns, privileges = append(tables, has.table), append(columns, column), append(privileges, match[1])
				}
			}
		}
	}
	return tables, columns, privileges
}
