// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
)

// A statement that writes a row runs the triggers, rules, policies and types of the row, which can raise any SQLSTATE: a trigger
// that raises 53100 does not fill the disk. So an error of such a statement concerns the row, unless it is proved to concern the
// database:
//
//   - a missing right, by has_*_privilege;
//   - a missing table or column, by the position of the error: in our statement, and not in a function that it runs. An error of
//     a function in C, such as tsvector_update_trigger, has no position;
//   - any other, by a write to a table that no other program writes (probe.go).

// isAnswer reports whether the server answered the statement and keeps the connection. An error with which it closes the
// connection concerns the connection, not the statement.
func isAnswer(err error) (*pgconn.PgError, bool) {
	var refusal *pgconn.PgError
	if !errors.As(err, &refusal) || refusal.SeverityUnlocalized != "ERROR" {
		return nil, false
	}
	var connecting *pgconn.ConnectError
	return refusal, !errors.As(err, &connecting)
}

// raised is the server's routine that raises an error for PL/pgSQL. Errors of a time-out or a lock come from other routines.
const raised = "exec_stmt_raise"

// unread corrects the class of an error of a read by the catalog: no right is advised that the role has.
func (s *Store) unread(ctx context.Context, v class, err error) class {
	e, ok := isAnswer(err)
	if !ok || e.Code != codeMissingRight {
		return v
	}
	switch found := s.findSuspects(ctx, e); {
	case found.unknown != "":
		v.sentence = "The database does not let the operator read a table (SQLSTATE 42501); the cause could not be determined, because " +
			found.unknown + "."
	case found.lacksRight():
	case found.isRowSecurity():
		v.sentence = fmt.Sprintf("The database does not let the operator read table users: row-level security applies to the operator's "+
			"role (SQLSTATE 42501, %s); change the policy, or ALTER ROLE ... BYPASSRLS.", found.names())
	}
	return v
}

// weighed is weigh for any error of a write.
func (s *Store) weighed(ctx context.Context, v class, err error) class {
	if e, ok := isAnswer(err); ok {
		return s.weigh(ctx, v, e)
	}
	return v
}

// weigh corrects the class of the server's error of a write by what can be proved.
func (s *Store) weigh(ctx context.Context, v class, e *pgconn.PgError) class {
	switch {
	case e.Routine == raised && (v.kind == blocked || e.Code == codeQueryCanceled):
		return s.rejection(ctx, e)
	case v.kind == conflict || v.kind == blocked || e.Code == codeQueryCanceled:
		return v
	case v.kind == statement:
		return s.rejection(ctx, e)
	case e.Code == codeMissingRight:
		if e.Where == "" && s.findSuspects(ctx, e).lacksRight() { // the error of a function of another program has a position
			return v
		}
		return s.rejection(ctx, e)
	case isLacking(e.Code) || e.Code == codeUndefinedSchema:
		if e.Where == "" && e.Position > 0 {
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

// rejection returns the class of a rejected row, with a sentence that names the cause.
func (s *Store) rejection(ctx context.Context, e *pgconn.PgError) class {
	return class{kind: statement, code: e.Code, sentence: rejectionSentence(e, s.findSuspects(ctx, e))}
}

// rejectionSentence says what the database rejects, why, and what to do. It names objects, and quotes nothing of the server's
// message, which can hold a value.
func rejectionSentence(e *pgconn.PgError, found suspects) string {
	table, constraint := quoted(e.TableName, "users"), quoted(e.ConstraintName, "that the server does not name")
	switch {
	case e.Code == codeUniqueViolation && found.isRowSecurity():
		return fmt.Sprintf("The database rejects the row: another row of table %s has the same value for the unique key %s, and row-level "+
			"security may hide that row from the operator's role (SQLSTATE 23505, %s); add a policy that permits the role, or "+
			"ALTER ROLE ... BYPASSRLS.", table, constraint, found.names())
	case e.Code == codeUniqueViolation:
		return fmt.Sprintf("The database rejects the row: another row of table %s has the same value for the unique key %s "+
			"(SQLSTATE 23505); rename one of the two users, or drop the key.", table, constraint)
	case e.Code == codeForeignKeyViolation && e.TableName != schema.Users && e.Where == "":
		return fmt.Sprintf("The database does not delete the row: rows of table %s refer to it by foreign key %s (SQLSTATE 23503); "+
			"delete those rows, or set spec.deletionPolicy to Deactivate, which keeps the row.", table, constraint)
	case e.Code == codeForeignKeyViolation:
		return fmt.Sprintf("The database rejects the row: foreign key %s of table %s refers to a row that does not exist "+
			"(SQLSTATE 23503); insert that row, or drop the key.", constraint, table)
	case e.Code == codeNotNullViolation && e.TableName == schema.Ownership && e.ColumnName == "username":
		return "The database rejects the row: a trigger gives it another username" + advice(found)
	case e.Code == codeNotNullViolation:
		return fmt.Sprintf("The database rejects the row: column %s of table %s must have a value, which the operator does not know "+
			"(SQLSTATE 23502); give the column a default, or drop its NOT NULL.", quoted(e.ColumnName, "that the server does not name"), table)
	case e.Code == codeCheckViolation:
		return fmt.Sprintf("The database rejects the row: it violates constraint %s of table %s (SQLSTATE 23514); change the resource "+
			"so that it complies, or the constraint.", constraint, table)
	case e.Code == codeMissingRight && found.isRowSecurity():
		return fmt.Sprintf("The database rejects the row: row-level security of table users applies to the operator's role "+
			"(SQLSTATE 42501, %s); add a policy that permits the role, or ALTER ROLE ... BYPASSRLS.", found.names())
	case e.Code == codeTypeMismatch || e.Code == codeGeneratedAlways || strings.HasPrefix(e.Code, "22"):
		if columns := found.columns(e.ColumnName); columns != "" {
			return fmt.Sprintf("The database rejects the row (SQLSTATE %s). %s", e.Code, columns)
		}
	}
	return fmt.Sprintf("The database rejects the row (SQLSTATE %s%s)%s", e.Code, objects(e), advice(found))
}

// advice returns the end of a sentence about a row.
func advice(found suspects) string {
	if names := found.names(); names != "" {
		return fmt.Sprintf(": on the table users there is %s; see what it raises, and change or drop it.", names)
	}
	if found.unknown != "" {
		return "; the cause could not be determined, because " + found.unknown + ". The database's log has the server's words."
	}
	return "; the database's log has the server's words."
}
