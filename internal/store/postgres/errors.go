// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
)

// kind is what a failure concerns.
type kind int

const (
	none        kind = iota
	conflict         // another change came first
	unavailable      // the database cannot be used at all
	doubtful         // the call got no answer or no connection: a check finds out why
	unreadable       // it answers, and does not let the tables be read
	readOnly         // it answers, and takes no writes because it is no primary
	refusing         // it answers, and refuses writes for another reason, or does not complete them
	statement        // it refuses this row or this statement
	blocked          // another transaction holds a lock on the row for longer than we wait
	busy             // every connection of the pool is in use
)

// SQLSTATEs that decide more than a sentence.
const (
	codeUndefinedTable     = "42P01"
	codeUndefinedColumn    = "42703"
	codeReadOnly           = "25006"
	codeMissingRight       = "42501"
	codeTooManyConnections = "53300"

	codeUniqueViolation     = "23505"
	codeForeignKeyViolation = "23503"
	codeNotNullViolation    = "23502"
	codeCheckViolation      = "23514"
	codeUndefinedSchema     = "3F000"
	codeTypeMismatch        = "42804"
	codeGeneratedAlways     = "428C9"
	codeQueryCanceled       = "57014"
	codeLockNotAvailable    = "55P03"
	codeNotSupported        = "0A000"
)

// isLacking reports whether a table or a column does not exist.
func isLacking(code string) bool { return code == codeUndefinedTable || code == codeUndefinedColumn }

// class is what a failure means.
type class struct {
	kind     kind
	code     string // SQLSTATE; "" where there is none
	sentence string
}

// errBlocked is part of the error if another transaction holds a lock on the row.
var errBlocked = errors.New("another transaction holds a lock on the row")

func (v class) unavailable(err error) *store.UnavailableError {
	if v.kind == blocked {
		err = errors.Join(errBlocked, err)
	}
	var unsent *unsentError
	return &store.UnavailableError{Sentence: v.sentence, Err: err, Unsent: errors.As(err, &unsent), Locked: v.kind == blocked}
}

// unsentError is an error before the database received anything of a call.
type unsentError struct{ error }

func (e *unsentError) Unwrap() error { return e.error }

// errBusy says that all connections of the pool are taken.
var errBusy = errors.New("every connection of the pool is in use")

// classify returns the class of an error of a call. A call without an answer may wait for a lock of another program or for
// our own callers, or its connection may be broken. So a time-out proves nothing: only a failure to connect proves by itself
// that the database is unavailable.
func (s *Store) classify(err error, access access, limit time.Duration) class {
	v := s.meaning(err, access, limit)
	if v.kind == unavailable && !isUnreachable(err) {
		v.kind = doubtful
	}
	return v
}

// meaning returns the class of an error if only the database can be the reason.
func (s *Store) meaning(err error, access access, limit time.Duration) class {
	at := dsnIdentityOf(s.settings.DSN, s.settings.ListenDSN)
	at.serves = s.settings.Role
	v := classify(err, at, limit)
	if access != writes && (v.kind == refusing || v.kind == readOnly) {
		v.kind = unreadable
	}
	return v
}

// isUnreachable reports whether no connection can be made. A time-out and too many connections prove nothing: a flood of calls may
// cause them.
func isUnreachable(err error) bool {
	var known *store.UnavailableError // about the DSN
	var connecting *pgconn.ConnectError
	return errors.As(err, &known) || (errors.As(err, &connecting) && !timedOut(err) && !isShort(err))
}

// shortages are messages of PgBouncer's refusals.
var shortages = []string{"no more connections allowed", "client connections exceeded", "too many servers in the pool"}

// isShort reports whether the server, or this machine, has no room for another connection.
func isShort(err error) bool {
	var connecting *pgconn.ConnectError
	var refusal *pgconn.PgError
	if !errors.As(err, &connecting) {
		return false
	}
	if errors.As(err, &refusal) {
		return strings.HasPrefix(refusal.Code, "53") || slices.ContainsFunc(shortages, func(text string) bool {
			return strings.Contains(refusal.Message, text)
		})
	}
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOBUFS) ||
		errors.Is(err, syscall.ENOMEM)
}

// classify is the only place that classifies errors of the driver. A sentence is built only from SQLSTATEs and from names of
// tables, columns and hosts: the text of the driver can hold the DSN, and that of the server a value.
func classify(err error, at dsnIdentity, limit time.Duration) class {
	var refusal *pgconn.PgError
	refused := errors.As(err, &refusal)
	var known *store.UnavailableError // an error of ours: about the DSN, or a right
	switch {
	case errors.As(err, &known) && refused:
		return class{kind: refusing, sentence: known.Sentence}
	case known != nil:
		return class{kind: unavailable, sentence: known.Sentence}
	case refused:
		v, ok := classifyParameter(err, refusal)
		if !ok {
			v = classifyRefusal(refusal, at, limit)
		}
		v.code = refusal.Code
		return v
	case errors.Is(err, errBack):
		return class{kind: statement, sentence: "The database does not keep the account deleted or inactive: within the same transaction the " +
			"row was created or activated again."}
	case errors.Is(err, errRelocked):
		return class{kind: statement, sentence: "The database does not keep the account unlocked: within the same transaction it was " +
			"locked again."}
	case errors.Is(err, errHidden):
		return class{kind: statement, sentence: "The database may still have the row: row-level security of table users hides rows " +
			"from the operator's role; add a policy that lets it read and delete all rows, or ALTER ROLE ... BYPASSRLS."}
	case errors.Is(err, errHangs):
		return class{kind: refusing, sentence: fmt.Sprintf("The database answers, but a commit did not return within %v; check that the "+
			"standbys in synchronous_standby_names are connected, and that the server's disk keeps up.", limit)}
	case errors.Is(err, errBusy):
		return class{kind: busy, sentence: "All connections of the operator's pool are in use; raise its largest number " +
			"of connections, or check pg_stat_activity for what they wait for."}
	}
	if sentence := decodeSentence(err); sentence != "" {
		return class{kind: statement, sentence: sentence}
	}
	return class{kind: unavailable, sentence: connectionSentence(err, at, limit)}
}

// decodeSentence returns the sentence for a value of the database that cannot be decoded; "" for other errors.
func decodeSentence(err error) string {
	var scan pgx.ScanArgError
	if !errors.As(err, &scan) {
		return ""
	}
	return fmt.Sprintf("The operator cannot read column %d of what the database sent: its type or its text form is not the "+
		"expected one; compare the columns of table users with docs/database.md.", scan.ColumnIndex+1)
}

// classifyRefusal classifies errors that the server sent, by SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html
func classifyRefusal(e *pgconn.PgError, at dsnIdentity, limit time.Duration) class {
	switch e.Code {
	case "40001", "40P01":
		return class{kind: conflict}
	case codeUniqueViolation:
		if schema.IsOurs(e.TableName) {
			return class{kind: conflict}
		}
	case codeReadOnly:
		return class{kind: readOnly, sentence: "The database is read-only, as a standby or a former primary is; writes " +
			"continue as soon as a host of the DSN accepts them."}
	case "28P01", "28000":
		return class{kind: unavailable, sentence: "The database rejected the login; check user and password in the DSN, and the " +
			"server's pg_hba.conf."}
	case "3D000":
		return class{kind: unavailable, sentence: "The database that the DSN names does not exist; create it or correct the DSN."}
	case codeTooManyConnections:
		return class{kind: unavailable, sentence: "The database has no connection left; raise its max_connections, or lower the " +
			"operator's largest number of connections."}
	case "53100":
		return class{kind: refusing, sentence: "The database disk is full; free or add space."}
	case codeMissingRight:
		return class{kind: refusing, sentence: missingRight(e.Message, at)}
	case codeUndefinedTable, "3F000":
		return class{kind: refusing, sentence: "The operator's tables do not exist yet; they are created as soon as the database and " +
			"the role's rights allow it."}
	case "42P07":
		return class{kind: refusing, sentence: "A table that the operator has to create exists already and belongs to another program; " +
			"rename that one, or let the operator's search_path begin with a schema of its own, followed by that of users."}
	case codeUndefinedColumn:
		return class{kind: refusing, sentence: "A column that the operator needs is missing; compare the table users with " +
			"the one in the operator's documentation."}
	case codeQueryCanceled:
		return class{kind: unavailable, sentence: fmt.Sprintf("The server ended a statement before the operator's own limit of %v: its "+
			"statement_timeout is shorter, or an administrator canceled the statement; raise it with ALTER ROLE %s SET statement_timeout.",
			limit, quoted(at.role, "..."))}
	case codeLockNotAvailable:
		return class{kind: blocked, sentence: "Another transaction holds a lock on the row for too long; the operator retries. " +
			"pg_stat_activity and pg_blocking_pids() show that transaction: end it."}
	case "57P01", "57P02", "57P03":
		return class{kind: unavailable, sentence: "The database is starting up or shutting down."}
	case codeNotSupported:
		return class{kind: statement, sentence: "The database does not support that, because of a rule on the table users for example, or a table " +
			"changed under a prepared statement (SQLSTATE 0A000)."}
	case "42P05", "26000":
		return class{kind: refusing, sentence: "A pooler between the operator and the database mixes up prepared " +
			"statements; add default_query_exec_mode=exec to the DSN."}
	}
	return classifyByPrefix(e, at)
}

// classifyByPrefix classifies SQLSTATEs without a sentence of their own by their first two characters.
func classifyByPrefix(e *pgconn.PgError, at dsnIdentity) class {
	prefix := e.Code[:min(2, len(e.Code))]
	switch prefix {
	case "08":
		if strings.Contains(e.Message, "search_path") || strings.Contains(e.Message, "startup parameter") {
			return class{kind: unavailable, sentence: fmt.Sprintf("The pooler between the operator and the database rejects a start-up "+
				"parameter; set ignore_startup_parameters = search_path in PgBouncer, and ALTER ROLE %s SET search_path = %s "+
				"in the database.", quoted(at.role, "the role"), quoted(at.schema, "the schema"))}
		}
		return class{kind: unavailable, sentence: "The connection to the database broke."}
	case "53":
		return class{kind: refusing, sentence: fmt.Sprintf("The database is short of resources (SQLSTATE %s).", e.Code)}
	case "57":
		return class{kind: unavailable, sentence: fmt.Sprintf("The database ended the call (SQLSTATE %s).", e.Code)}
	case "09", "21", "22", "23", "27", "2F", "38", "39", "44", "54", "55", "P0":
		return class{kind: statement, sentence: fmt.Sprintf("The database rejects this row (SQLSTATE %s%s).", e.Code, objects(e))}
	}
	return class{kind: refusing, sentence: fmt.Sprintf("The database rejected a statement (SQLSTATE %s); see the database's log.", e.Code)}
}

// objects lists the database objects that the error names.
func objects(e *pgconn.PgError) string {
	var b strings.Builder
	for _, name := range []struct{ what, name string }{
		{"table", e.TableName}, {"column", e.ColumnName}, {"constraint", e.ConstraintName},
	} {
		if name.name != "" {
			fmt.Fprintf(&b, ", %s %s", name.what, quoted(name.name, ""))
		}
	}
	return b.String()
}

// missingRight returns the sentence that names the missing GRANT. The server names the object in its message only, which holds no
// value, and never the column. If the message is not in English, the sentence names all that the role needs.
func missingRight(message string, at dsnIdentity) string {
	if what, found := strings.CutPrefix(message, "must be owner of "); found {
		kind, name, _ := strings.Cut(what, " ")
		return fmt.Sprintf("The database role does not own the %s %s, which this version has to change; start this version once "+
			"with the DSN of its owner.", kind, quoted(name, "in question"))
	}
	role := quoted(at.role, "the role")
	var grant string
	switch what, name, _ := strings.Cut(strings.TrimPrefix(message, "permission denied for "), " "); what {
	case "table", "view", "relation":
		grant = at.serves.onTable(strings.Trim(name, `"`), role)
	case "schema":
		grant = at.serves.onSchema(quoted(name, at.schema), role)
	case "database":
		grant = fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s", quoted(name, "the database"), role)
	default:
		grant = at.serves.onSchema(quoted(at.schema, "public"), role) + "; " + at.serves.onAll(role)
	}
	return fmt.Sprintf("The database role lacks a right; let an administrator run: %s;", grant)
}

// missingCreate returns the sentence for a role that may not create the operator's tables.
func missingCreate(schema, role string) string {
	return fmt.Sprintf("The database role may not create the operator's tables; let an administrator run: "+
		"GRANT USAGE, CREATE ON SCHEMA %s TO %s;", quoted(schema, "public"), quoted(role, "the role"))
}

// quoted returns a name as SQL writes it, or otherwise a word for it.
func quoted(name, otherwise string) string {
	name = strings.Trim(name, `"`)
	if name == "" {
		return otherwise
	}
	return pgx.Identifier{name}.Sanitize()
}

func timedOut(err error) bool {
	var network net.Error
	return errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err) || (errors.As(err, &network) && network.Timeout())
}

// slowSentence names the limit that ended the wait: that of the call, or the shorter one of a connection attempt. The DSN
// that sets the latter is named only where it can be read in one way.
func slowSentence(err error, at dsnIdentity, limit time.Duration) string {
	var connecting *pgconn.ConnectError
	switch {
	case !errors.As(err, &connecting) || connecting.Config.ConnectTimeout == 0 || connecting.Config.ConnectTimeout >= limit:
		return fmt.Sprintf("The database did not answer within %v.", limit)
	case len(at.hosts) == 0:
		return "The database did not accept a connection within the connect_timeout."
	}
	return fmt.Sprintf("The database did not accept a connection within %v (connect_timeout).", connecting.Config.ConnectTimeout)
}

// connectionSentence returns the sentence for an error of the connection.
func connectionSentence(err error, at dsnIdentity, limit time.Duration) string {
	var (
		dns         *net.DNSError
		operation   *net.OpError
		verify      *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		authority   x509.UnknownAuthorityError
		hostname    x509.HostnameError
		certificate x509.CertificateInvalidError
	)
	address := "the address in the DSN"
	if errors.As(err, &operation) && operation.Addr != nil && len(at.hosts) > 0 {
		address = operation.Addr.String()
	}
	switch {
	case errors.As(err, &dns) && !slices.Contains(at.hosts, dns.Name):
		return "The database's host name cannot be resolved."
	case dns != nil:
		return fmt.Sprintf("The database's host name %q cannot be resolved.", dns.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("Cannot connect to the database at %s: connection refused; check that Postgres is running, and that a "+
			"NetworkPolicy allows the connection.", address)
	case errors.Is(err, fs.ErrNotExist) && operation != nil:
		return fmt.Sprintf("Cannot connect to the database: there is no socket at %s.", address)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return fmt.Sprintf("Cannot connect to the database: there is no route to %s.", address)
	case errors.As(err, &verify), errors.As(err, &authority), errors.As(err, &hostname), errors.As(err, &certificate):
		return "The database's TLS certificate is not trusted; check sslmode, sslrootcert and the host name in the DSN."
	case errors.As(err, &record), strings.Contains(err.Error(), "server refused TLS connection"):
		return "The database does not speak TLS; check sslmode in the DSN."
	case errors.Is(err, pgconn.ErrReadOnlyConnection), errors.Is(err, pgconn.ErrReadWriteConnection),
		errors.Is(err, pgconn.ErrPrimaryConnection), errors.Is(err, pgconn.ErrStandbyConnection):
		return "No host of the DSN meets its target_session_attrs."
	case timedOut(err):
		return slowSentence(err, at, limit)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed), errors.Is(err, pgconn.ErrConnClosed):
		return "The connection to the database broke."
	}
	return "The database is unreachable; check the host and the port in the DSN."
}
