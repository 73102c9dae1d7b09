// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
)

// Identity is where a connection leads. A zero server or start is unknown.
type Identity struct {
	server          string // initdb draws it at random; standbys and former primaries share it
	started         string // start time of the server process
	database, users int64  // OIDs; 0 where there is no table users
	recovering      bool   // the server is a standby
	timeline        string // of a primary
}

// IsKnown reports whether the server answered.
func (i Identity) IsKnown() bool { return i.started != "" }

// HasServer reports whether the server named itself. A server that does not is only known by its start time.
func (i Identity) HasServer() bool { return i.server != "" }

// isSameDatabase ignores which server of a replicated set answers.
func (i Identity) isSameDatabase(other Identity) bool {
	if i.database != other.database {
		return false
	}
	if i.server != "" && other.server != "" {
		return i.server == other.server
	}
	return i.started == other.started
}

// Meets reports whether both lead to the same tables. The table users may be missing, or hidden from a role that may not use
// its schema.
func (i Identity) Meets(other Identity) bool {
	return i.isSameDatabase(other) && (i.users == other.users || i.users == 0 || other.users == 0)
}

// agrees returns whether both lead to the same database on the same server process.
func (i Identity) agrees(other Identity) bool {
	return i.isSameDatabase(other) && i.started == other.started &&
		i.recovering == other.recovering && i.timeline == other.timeline
}

// identityRight asks whether the role may ask everything. An unconditional query would write an error into the server's log.
const identityRight = `SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
	AND pg_catalog.has_function_privilege('pg_catalog.pg_current_wal_lsn()', 'EXECUTE')
	AND pg_catalog.has_function_privilege('pg_catalog.pg_walfile_name(pg_lsn)', 'EXECUTE')`

const identityQuery = `SELECT EXTRACT(epoch FROM pg_catalog.pg_postmaster_start_time()),
	(SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()),
	COALESCE(pg_catalog.to_regclass('` + schema.Users + `')::oid, 0), pg_catalog.pg_is_in_recovery()`

// fullIdentityQuery adds the columns that need identityRight. The first eight digits of a WAL file's name are the timeline.
const fullIdentityQuery = identityQuery + `, (SELECT system_identifier FROM pg_catalog.pg_control_system()),
	CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8) END`

// The levels of detail that identifier asks for.
const (
	asksRight int32 = iota
	asksFull
	asksLimited
	asksNothing
)

// askAgain is when a server is asked again what it refused to answer: each refusal is a line in its log.
const askAgain = 24 * time.Hour

// identifier asks connections where they lead. It remembers what the server refuses.
type identifier struct {
	level   atomic.Int32
	refused atomic.Int64 // Unix time of the last refusal
}

// identify returns where the connection leads, and the zero value where the server refuses to answer. It uses the simple
// protocol, which every pooler passes on. An error means that the connection is lost.
func (r *identifier) identify(ctx context.Context, conn *pgconn.PgConn, path Path) (Identity, error) {
	if r.level.Load() != asksRight && time.Since(time.Unix(r.refused.Load(), 0)) > askAgain {
		r.refuse(asksRight)
	}
	for {
		level := r.level.Load()
		if level == asksNothing {
			return Identity{}, nil
		}
		sql := identityQueries[level]
		if path.isLocal {
			sql = SetPath(path.Value, true) + "; " + sql
		}
		row, err := readRow(ctx, conn, sql)
		switch {
		case err != nil && !isRefusal(conn, err):
			return Identity{}, fmt.Errorf("ask the server for its Identity: %w", err)
		case err != nil:
			r.refuse(max(level, asksFull) + 1)
		case level != asksRight:
			return parseIdentity(row), nil
		case row[0] == "t":
			r.refuse(asksFull)
		default:
			r.refuse(asksLimited)
		}
	}
}

func (r *identifier) refuse(level int32) {
	r.level.Store(min(level, asksNothing))
	r.refused.Store(time.Now().Unix())
}

var identityQueries = map[int32]string{asksRight: identityRight, asksFull: fullIdentityQuery, asksLimited: identityQuery}

// parseIdentity reads the columns of fullIdentityQuery, or of identityQuery.
func parseIdentity(row []string) Identity {
	i := Identity{started: row[0], recovering: row[3] == "t"}
	i.database, _ = strconv.ParseInt(row[1], 10, 64)
	i.users, _ = strconv.ParseInt(row[2], 10, 64)
	if len(row) > 4 {
		i.server, i.timeline = row[4], row[5]
	}
	return i
}

// errNoRow means that something else than a Postgres server answers.
var errNoRow = errors.New("the query returned no row")

// isRefusal reports whether the server refused a statement, and the connection is still of use.
func isRefusal(conn *pgconn.PgConn, err error) bool {
	var refusal *pgconn.PgError
	return !conn.IsClosed() && errors.As(err, &refusal)
}

// readRow returns the only row of a query as text, of several queries that of the last one.
func readRow(ctx context.Context, conn *pgconn.PgConn, sql string) ([]string, error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(results) == 0 || len(results[len(results)-1].Rows) != 1 {
		return nil, errNoRow
	}
	var row []string
	for _, column := range results[len(results)-1].Rows[0] {
		row = append(row, string(column))
	}
	return row, nil
}
