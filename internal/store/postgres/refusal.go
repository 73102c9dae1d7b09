// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A statement that writes a row runs the row's triggers, rules, policies and types, which can raise any SQLSTATE at all: a
// trigger that raises 53100 does not make the disk full. So what the server answers to such a statement concerns the row,
// until it is proved to concern the database:
//
//   - a missing right, by has_*_privilege;
//   - a missing table or column, by the place of the error: in our statement, and not in a function that it runs;
//   - all else, by a write of our own to a table that no other program writes (see probe.go).

// isAnswer tells whether the server answered the statement and keeps the connection. What it says as it hangs up concerns
// the connection, whatever the statement was.
func isAnswer(err error) (*pgconn.PgError, bool) {
	var refusal *pgconn.PgError
	if !errors.As(err, &refusal) || refusal.SeverityUnlocalized != "ERROR" {
		return nil, false
	}
	var connecting *pgconn.ConnectError
	return refusal, !errors.As(err, &connecting)
}

// weigh is what the server's answer to a write means, in view of what can be proved.
func (s *Store) weigh(ctx context.Context, v verdict, e *pgconn.PgError) verdict {
	switch {
	case v.kind == conflict || v.kind == blocked || e.Code == codeQueryCanceled:
		return v
	case v.kind == statement:
		return s.rejection(ctx, e)
	case e.Code == codeMissingRight:
		if e.Where == "" && s.lacksRight(ctx) { // a function of another program has a place in the code
			return v
		}
		return s.rejection(ctx, e)
	case isLacking(e.Code) || e.Code == codeUndefinedSchema:
		if e.Where == "" {
			return v
		}
		return s.rejection(ctx, e)
	}
	switch err := s.prove(ctx); {
	case err == nil:
		return s.rejection(ctx, e)
	case isProbeMissing(err):
		return s.rejection(ctx, e)
	default:
		return s.meaning(err, writes, s.timing.look)
	}
}

// rejection is the verdict on a row, with a sentence that names what refuses it.
func (s *Store) rejection(ctx context.Context, e *pgconn.PgError) verdict {
	return verdict{kind: statement, code: e.Code, sentence: rejectionSentence(e, s.findSuspects(ctx))}
}

// rejectionSentence says which row the database refuses, why, and what to do. It names objects, and quotes nothing of the
// server's message, which can hold a value.
func rejectionSentence(e *pgconn.PgError, found suspects) string {
	table, constraint := quoted(e.TableName, "users"), quoted(e.ConstraintName, "that the server does not name")
	switch {
	case e.Code == codeUniqueViolation:
		return fmt.Sprintf("The database rejects the row: another row of table %s has the same value for the unique key %s "+
			"(SQLSTATE 23505); rename one of the two users, or drop the key.", table, constraint)
	case e.Code == codeForeignKeyViolation && e.TableName != usersTable:
		return fmt.Sprintf("The database does not delete the row: rows of table %s refer to it by foreign key %s (SQLSTATE 23503); "+
			"delete those rows, or set spec.deletionPolicy to Deactivate, which keeps the row.", table, constraint)
	case e.Code == codeForeignKeyViolation:
		return fmt.Sprintf("The database rejects the row: foreign key %s of table %s refers to a row that does not exist "+
			"(SQLSTATE 23503); insert that row, or drop the key.", constraint, table)
	case e.Code == codeNotNullViolation:
		return fmt.Sprintf("The database rejects the row: column %s of table %s must have a value, which the operator does not know "+
			"(SQLSTATE 23502); give the column a default, or drop its NOT NULL.", quoted(e.ColumnName, "that the server does not name"), table)
	case e.Code == codeCheckViolation:
		return fmt.Sprintf("The database rejects the row: it violates constraint %s of table %s (SQLSTATE 23514); change the resource "+
			"so that it complies, or the constraint.", constraint, table)
	case e.Code == codeMissingRight && found.rowSecurity:
		return fmt.Sprintf("The database rejects the row: row-level security of table users applies to the operator's role "+
			"(SQLSTATE 42501, %s); add a policy that permits the role, or ALTER ROLE ... BYPASSRLS.", found.names())
	case e.Code == codeTypeMismatch || e.Code == codeGeneratedAlways || strings.HasPrefix(e.Code, "22"):
		if types := found.types(e.ColumnName); types != "" {
			return fmt.Sprintf("The database rejects the row: %s cannot hold what the operator writes (SQLSTATE %s); alter it to the type "+
				"in docs/database.md.", types, e.Code)
		}
	}
	return fmt.Sprintf("The database rejects the row (SQLSTATE %s%s)%s", e.Code, objects(e), advice(found))
}

// types lists the columns that are not as expected: the one that the server names, or else all of them.
func (f suspects) types(name string) string {
	var list []string
	for _, c := range f.columns {
		if name == "" || c.name == name {
			list = append(list, fmt.Sprintf("column %s of type %s", quoted(c.name, ""), c.definition))
		}
	}
	return strings.Join(list, ", ")
}

// advice ends a sentence about a row.
func advice(found suspects) string {
	if names := found.names(); names != "" {
		return fmt.Sprintf(": on the table users there is %s; see what it raises, and change or drop it.", names)
	}
	return "; the database's log has the server's words."
}

// isOurs tells whether a table is the operator's own.
func isOurs(table string) bool {
	return slices.Contains([]string{ownershipTable, attemptsTable, mergesTable, probesTable, versionTable}, table)
}

// lacksRight asks the catalogue whether the role lacks a right that it needs. Where the catalogue does not answer, it does.
func (s *Store) lacksRight(ctx context.Context) bool {
	limited, cancel := context.WithTimeout(ctx, s.timing.look)
	defer cancel()
	var lacks bool
	err := s.pool.QueryRow(limited, askRights, s.settings.Role.singly()).Scan(&lacks)
	return lacks || err != nil
}

// askRights yields true where one of these rights is missing. A right on a table is one on each of its columns. A table that
// cannot be found may be in a schema that the role may not use.
const askRights = `
SELECT bool_or(CASE
    WHEN t.oid IS NULL THEN true
    WHEN n.column_name = '' THEN NOT has_table_privilege(t.oid, n.privilege)
    WHEN NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = n.column_name) THEN false
    ELSE NOT has_column_privilege(t.oid, n.column_name, n.privilege)
END)
FROM unnest(@tables::text[], @columns::text[], @privileges::text[]) AS n (table_name, column_name, privilege)
CROSS JOIN LATERAL (SELECT to_regclass(n.table_name)::oid AS oid) t`

// privilege is one of a right's, with the columns that it is limited to, if it is.
var privilege = regexp.MustCompile(`([A-Z]+)(?: \(([^)]*)\))?`)

// singly is the rights of a role one by one, as askRights takes them.
func (r Role) singly() pgx.NamedArgs {
	var tables, columns, privileges []string
	for _, right := range r.rights() {
		for table := range strings.SplitSeq(right.table, ", ") {
			for _, match := range privilege.FindAllStringSubmatch(right.privileges, -1) {
				for column := range strings.SplitSeq(match[2], ", ") {
					tables, columns, privileges = append(tables, table), append(columns, column), append(privileges, match[1])
				}
			}
		}
	}
	return pgx.NamedArgs{"tables": tables, "columns": columns, "privileges": privileges}
}
