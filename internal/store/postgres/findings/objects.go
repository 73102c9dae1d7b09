// SPDX-License-Identifier: Apache-2.0

package findings

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
)

// describeRelation returns findings about the table as a whole.
func describeRelation(c catalog) (found []store.Finding) {
	relation := c["relation"][0]
	add := func(kind, consequence string) {
		found = append(found, store.Finding{Kind: kind, Object: schema.Ident(schema.Users), Consequence: consequence})
	}
	switch relation.Name {
	case "r":
	case "p":
		add(store.FindingPartitionedTable, "The table is partitioned, so its primary key has to hold the partition key and a username may exist "+
			"once in each partition; use an ordinary table, or partition by username.")
	default:
		add(store.FindingNotATable, "It is a view, a materialized view or a foreign table, so there can be no trigger that notifies, and writes "+
			"may fail or change other tables; use an ordinary table.")
	}
	if relation.Details[0] == "u" {
		add(store.FindingUnloggedTable, "The table is unlogged, so it is empty after a crash and on every standby; run ALTER TABLE ... SET LOGGED.")
	}
	if relation.is(2) && relation.is(3) {
		add(store.FindingReplicaIdentity, "A publication replicates the table, which has no replica identity, so every UPDATE and DELETE fails; "+
			"add a primary key, or run ALTER TABLE ... REPLICA IDENTITY FULL.")
	}
	for _, child := range c["child"] {
		if relation.Name == "r" {
			found = append(found, store.Finding{
				Kind: store.FindingInheritance, Object: child.Name,
				Consequence: "The table inherits from users without its unique key, so a username may exist twice and writes change both rows; " +
					"run ALTER TABLE ... NO INHERIT.",
			})
		}
	}
	return found
}

// describeKeys returns findings about the unique indexes: the required one on the username, and all others.
func describeKeys(c catalog) (found []store.Finding) {
	isKeyed, isDeferrable := false, false
	for _, index := range c["unique"] {
		switch isUsername := index.is(0); {
		case isUsername && index.is(1) && index.is(2):
			isKeyed = true
		case isUsername && index.is(1):
			isDeferrable = true
		case isUsername || (index.is(3) && !index.is(4)):
			// An invalid index ensures nothing, and values that the database generates never repeat.
		default:
			found = append(found, store.Finding{
				Kind: store.FindingUniqueConstraint, Object: index.Name,
				Consequence: "The database refuses a row that repeats the index's values, so such a ShardingUser stays not ready; " +
					"drop the index, or keep the values distinct.",
			})
		}
	}
	if kind := c["relation"][0].Name; isKeyed || (kind != "r" && kind != "p") {
		return found
	}
	consequence := "No unique index is on this column alone, so the database does not refuse a second row of a username, and writes and " +
		"logins concern both rows; add a primary key or a unique constraint."
	if isDeferrable {
		consequence = "The unique constraint is deferrable, so a second row of a username is refused only when a transaction commits; make it " +
			"NOT DEFERRABLE."
	}
	return append(found, store.Finding{Kind: store.FindingMissingUniqueKey, Object: schema.Ident("username"), Consequence: consequence})
}

func describeConstraints(c catalog) (found []store.Finding) {
	for _, constraint := range c["constraint"] {
		isOwn, other := constraint.is(1), constraint.Details[2]
		f := store.Finding{Object: schema.Ident(constraint.Name)}
		switch kind := constraint.Details[0]; {
		case kind == "c":
			f.Kind = store.FindingCheckConstraint
			f.Consequence = "The database refuses a row that does not meet the constraint, so such a ShardingUser stays not ready."
		case kind == "x":
			f.Kind = store.FindingExclusionConstraint
			f.Consequence = "The database refuses a row that conflicts with another one, so such a ShardingUser stays not ready."
		case isOwn:
			f.Kind = store.FindingForeignKey
			f.Consequence = fmt.Sprintf("The database refuses a row that the table %s has no match for, so such a ShardingUser stays not ready.", other)
		default:
			f.Kind = store.FindingForeignKey
			f.Consequence = referencing(other, constraint.Details[3])
		}
		found = append(found, f)
	}
	return found
}

// referencing returns what a foreign key of another table does when a row is deleted.
func referencing(table, onDelete string) string {
	switch onDelete {
	case "c":
		return fmt.Sprintf("Deleting an account also deletes the rows of the table %s that refer to it; set spec.deletionPolicy to Deactivate to keep them.", table)
	case "n", "d":
		return fmt.Sprintf("Deleting an account changes the rows of the table %s that refer to it.", table)
	}
	return fmt.Sprintf("An account that the table %s refers to cannot be deleted, and its ShardingUser waits; set spec.deletionPolicy to Deactivate.", table)
}

// ourTriggers is the beginning of the names of all versions of our triggers.
const ourTriggers = "shardinguser_notify_"

// oauthGuard is the trigger of config/database/sharding-manager.sql. It rejects no write of the operator.
const oauthGuard = "shardinguser_oauth_guard"

// The bits of pg_trigger.tgtype.
const (
	triggerForRow  = 1 << 0
	triggerBefore  = 1 << 1
	triggerInstead = 1 << 6
)

// triggerEvents are the bits of the events.
var triggerEvents = []struct {
	bit  int
	name string
}{{1 << 2, "INSERT"}, {1 << 4, "UPDATE"}, {1 << 3, "DELETE"}, {1 << 5, "TRUNCATE"}}

// describeTriggers returns findings about code that runs when a row is written: triggers and rules.
func (o Options) describeTriggers(c catalog) (found []store.Finding) {
	ours := 0
	isGuarded := !slices.ContainsFunc(c["column"], func(f Fact) bool { return f.Name == "oauth_id" })
	for _, trigger := range c["trigger"] {
		isGuarded = isGuarded || trigger.Name == oauthGuard
		if trigger.Name == schema.RowTrigger || trigger.Name == schema.TruncateTrigger {
			ours++
		}
		if strings.HasPrefix(trigger.Name, ourTriggers) || trigger.Name == oauthGuard {
			continue
		}
		kind, _ := strconv.Atoi(trigger.Details[0]) // the server wrote it
		found = append(found, store.Finding{Kind: store.FindingForeignTrigger, Object: schema.Ident(trigger.Name), Consequence: triggering(kind)})
	}
	if ours < schema.TriggerCount && !o.NoNotifications {
		found = append(found, store.Finding{
			Kind: store.FindingNotificationTrigger, Object: schema.Ident(schema.RowTrigger),
			Consequence: "The triggers that notify of changes are missing or disabled, so the operator polls the table; GRANT TRIGGER on the " +
				"table and CREATE on its schema to the role, or enable them.",
		})
	}
	if !isGuarded && o.CreatesSchema {
		found = append(found, store.Finding{
			Kind: store.FindingOAuthGuard, Object: schema.Ident(oauthGuard),
			Consequence: "The table has the columns of the sharding manager's login by OAuth, and not the trigger that keeps it from overwriting accounts: " +
				"a user of OAuth can take over a locked or inactive account by its name; run config/database/sharding-manager.sql.",
		})
	}
	for _, rule := range c["rule"] {
		found = append(found, store.Finding{
			Kind: store.FindingRule, Object: schema.Ident(rule.Name),
			Consequence: fmt.Sprintf("The rule rewrites %s statements, so what they write may be skipped or changed; use a trigger in its place, or drop it.",
				rule.Details[0]),
		})
	}
	return found
}

// triggering returns what a trigger of this type may do.
func triggering(kind int) string {
	var events []string
	for _, event := range triggerEvents {
		if kind&event.bit != 0 {
			events = append(events, event.name)
		}
	}
	on := strings.Join(events, " or ")
	if kind&(triggerBefore|triggerInstead) != 0 && kind&triggerForRow != 0 {
		return fmt.Sprintf("The trigger runs before each %s and may skip, change or refuse it; a ShardingUser whose row it does not leave as "+
			"asked stays not ready.", on)
	}
	return fmt.Sprintf("The trigger runs at each %s and may refuse it; a ShardingUser whose row it refuses stays not ready.", on)
}

// describePolicies returns findings about row-level security, if it applies to the role.
func describePolicies(c catalog) (found []store.Finding) {
	if !c["relation"][0].is(1) {
		return nil
	}
	permitted := map[string]bool{}
	for _, policy := range c["policy"] {
		if !policy.is(2) {
			continue
		}
		if policy.is(1) {
			permitted[policy.Details[0]] = true
		}
		found = append(found, store.Finding{
			Kind: store.FindingRowLevelSecurity, Object: schema.Ident(policy.Name),
			Consequence: fmt.Sprintf("The policy applies to the role %s and limits the rows that it reads or writes; rows beyond it are not managed.", c.role()),
		})
	}
	var missing []string
	for _, command := range []struct{ code, name string }{{"r", "SELECT"}, {"a", "INSERT"}, {"w", "UPDATE"}, {"d", "DELETE"}} {
		if !permitted["*"] && !permitted[command.code] {
			missing = append(missing, command.name)
		}
	}
	consequence := "Row-level security applies to the role " + c.role()
	if len(missing) > 0 {
		consequence += ", and no policy permits " + strings.Join(missing, ", ") + ": such statements fail or find no row"
	}
	consequence += "; ALTER ROLE " + c.role() + " BYPASSRLS, or add a policy that permits all rows to it."
	return append(found, store.Finding{Kind: store.FindingRowLevelSecurity, Object: schema.Ident(schema.Users), Consequence: consequence})
}

// The major versions of Postgres that are supported.
const (
	oldestServer = 14
	newestServer = 18
)

// describeSettings returns findings about the server's version and the settings of new sessions.
func (o Options) describeSettings(c catalog) (found []store.Finding) {
	for _, setting := range c["setting"] {
		value := setting.Details[0]
		if setting.Name == "server_version_num" {
			found = append(found, serverVersionFinding(value)...)
			continue
		}
		if consequence := o.settingConsequence(setting.Name, value, c.role()); consequence != "" {
			found = append(found, store.Finding{Kind: store.FindingSessionSetting, Object: setting.Name, Consequence: consequence})
		}
	}
	return found
}

// settingConsequence returns the consequence of a setting of this value; "" where there is none.
func (o Options) settingConsequence(name, value, role string) string {
	reset := "; run ALTER ROLE " + role + " SET " + name + " = "
	switch name {
	case "statement_timeout", "transaction_timeout":
		limit, _ := strconv.ParseInt(value, 10, 64) // in milliseconds; the server wrote it
		if ours := o.StatementTimeout.Milliseconds(); limit > 0 && limit < ours {
			return fmt.Sprintf("The server ends statements after %d ms, before the operator's own limit of %d ms, so slow ones fail early%s0.", limit, ours, reset)
		}
	case "default_transaction_isolation":
		if value != "read committed" {
			return "Transactions are " + value + ", so concurrent writes fail with serialization errors" + reset + "'read committed'."
		}
	case "default_transaction_read_only":
		if value == "on" {
			return "Transactions are read-only, so no write succeeds" + reset + "off."
		}
	case "session_replication_role":
		if value == "replica" {
			return "Triggers and foreign keys do not run for the role's writes, so changes are not notified" + reset + "origin."
		}
	case "row_security":
		if value == "off" {
			return "Statements fail with an error where row-level security would apply" + reset + "on."
		}
	}
	return ""
}

func serverVersionFinding(number string) []store.Finding {
	version, _ := strconv.Atoi(number) // the server wrote it
	major := version / 10000
	if major >= oldestServer && major <= newestServer {
		return nil
	}
	return []store.Finding{{
		Kind: store.FindingServerVersion, Object: strconv.Itoa(major),
		Consequence: fmt.Sprintf("Postgres %d is not a version that the operator is tested with, so statements may fail; use %d to %d.",
			major, oldestServer, newestServer),
	}}
}

// describeVersion returns a finding about the version of the operator's own tables.
func (o Options) describeVersion() []store.Finding {
	version, latest := o.Version, o.LatestVersion
	if version == 0 || version == latest {
		return nil
	}
	consequence := fmt.Sprintf("The operator's tables have version %d and this operator makes version %d", version, latest)
	if version > latest {
		consequence += ": a newer operator uses the database too; update this one."
	} else {
		consequence += ": they have not been migrated; see the operator's log for the reason."
	}
	return []store.Finding{{Kind: store.FindingSchemaVersion, Object: schema.Ident(schema.Versions), Consequence: consequence}}
}

// describeRights returns findings about privileges that the role lacks, one for each table.
func describeRights(c catalog) (found []store.Finding) {
	lacking := map[string]map[string][]string{} // columns by privilege by table; none is the whole table
	for _, f := range c["right"] {
		if lacking[f.Name] == nil {
			lacking[f.Name] = map[string][]string{}
		}
		columns := lacking[f.Name][f.Details[0]]
		if column := f.Details[1]; column != "" && !slices.Contains(columns, column) {
			columns = append(columns, column)
		}
		lacking[f.Name][f.Details[0]] = columns
	}
	for table, privileges := range lacking {
		var missing []string
		for _, name := range []string{"SELECT", "INSERT", "UPDATE", "DELETE"} {
			columns, isMissing := privileges[name]
			if len(columns) > 0 {
				slices.Sort(columns)
				name += " (" + strings.Join(columns, ", ") + ")"
			}
			if isMissing {
				missing = append(missing, name)
			}
		}
		list := strings.Join(missing, ", ")
		found = append(found, store.Finding{
			Kind: store.FindingMissingRight, Object: schema.Ident(table),
			Consequence: fmt.Sprintf("The role %s lacks %s on the table, so statements that need it fail; run %s.",
				c.role(), list, fmt.Sprintf("GRANT %s ON TABLE %s TO %s", list, schema.Ident(table), c.role())),
		})
	}
	return found
}
