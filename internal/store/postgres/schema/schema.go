// SPDX-License-Identifier: Apache-2.0

// Package schema has what the operator creates in a database: the migrations of its tables, and the triggers on the table users
// that notify of changed rows.
package schema

import (
	"embed"
	"strings"

	"github.com/jackc/pgx/v5"
)

// The table of the sharding system, and those of the operator.
const (
	Users     = "users"
	Ownership = "shardinguser_ownership"  // the ownership records
	Attempts  = "login_attempts"          // the audit trail of logins
	Changes   = "account_changes"         // the audit trail of changes
	Merges    = "shardinguser_merges"     // IDs of merged batches
	Probes    = "shardinguser_probes"     // rows that probes write
	Familiar  = "shardinguser_familiar"   // familiar addresses of accounts, and their budgets
	Versions  = "shardinguser_migrations" // versions of the schema
)

// Triggers on the table users: for rows, and for TRUNCATE.
const (
	// TriggerFunction has its version in the name, so that replicas of two versions do not replace each other's function.
	TriggerFunction = "shardinguser_notify_v1"

	RowTrigger      = TriggerFunction + "_rows"
	TruncateTrigger = TriggerFunction + "_truncate"
	TriggerCount    = 2
)

// Migrations are the files in the folder migrations.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Triggers creates the triggers if they are missing, and the function also where it is another version's. "make generate" copies
// it into config/database/roles.sql.
//
//go:embed trigger.sql
var Triggers string

// TriggerBody is the body of the function.
var TriggerBody = strings.Split(Triggers, "$fn$")[1]

// IsOurs reports whether a table is one of the operator's.
func IsOurs(table string) bool {
	switch table {
	case Ownership, Attempts, Changes, Merges, Probes, Familiar, Versions:
		return true
	}
	return false
}

// Ident returns a name as an SQL identifier.
func Ident(name string) string { return pgx.Identifier{name}.Sanitize() }
