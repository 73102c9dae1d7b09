// SPDX-License-Identifier: Apache-2.0

package session

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/findings"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
)

// The meaning of a name depends on the search path of the session. The server searches pg_catalog and the temporary schema first,
// unless the path names them. So each path of ours leaves out pg_catalog, which keeps it first, and ends with pg_temp.
const (
	defaultSchema = "public"
	Temporary     = "pg_temp"
	catalogSchema = "pg_catalog"
)

// pinPath sets the search path of the DSN, or the default, as the only one: names have no case, and the options may have one.
func pinPath(params map[string]string) {
	path, isNamed := params["search_path"]
	for name, value := range params {
		if name != "search_path" && strings.EqualFold(name, "search_path") {
			delete(params, name)
			if !isNamed {
				path, isNamed = value, true
			}
		}
	}
	if options, ok := params["options"]; ok {
		var left []string
		for _, o := range splitOptions(options) {
			if o.setting != "search_path" {
				left = append(left, o.words...)
				continue
			}
			if !isNamed {
				path = o.value // the last one counts
			}
		}
		if path != "" {
			isNamed = true
		}
		if params["options"] = strings.Join(left, " "); len(left) == 0 {
			delete(params, "options")
		}
	}
	if !isNamed {
		path = defaultSchema
	}
	params["search_path"] = safePath(path)
}

// safePath is the path with pg_temp at its end and pg_catalog, unnamed, at its beginning. A path that the server refuses stays as
// it is.
func safePath(path string) string {
	schemas, ok := SplitPath(path)
	if !ok {
		return path
	}
	return joinPath(schemas)
}

// joinPath writes a path of these schemas.
func joinPath(schemas []string) string {
	var names []string
	for _, name := range schemas {
		if name != Temporary && name != catalogSchema && !strings.HasPrefix(name, "pg_temp_") {
			names = append(names, plainIdent(name))
		}
	}
	return strings.Join(append(names, Temporary), ", ")
}

// plainName is an identifier that needs no quotes in a path.
var plainName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

func plainIdent(name string) string {
	if plainName.MatchString(name) {
		return name
	}
	return schema.Ident(name)
}

// SplitPath returns the schemas of a search path, as the server reads it. It is not ok where the server refuses it.
func SplitPath(path string) (schemas []string, ok bool) {
	rest := strings.TrimLeft(path, pathSpace)
	if rest == "" {
		return nil, true
	}
	for {
		var name string
		if strings.HasPrefix(rest, `"`) {
			if name, rest, ok = quotedName(rest[1:]); !ok {
				return nil, false
			}
		} else {
			end := strings.IndexAny(rest, ","+pathSpace)
			if end < 0 {
				end = len(rest)
			}
			if name, rest = lower(rest[:end]), rest[end:]; name == "" {
				return nil, false
			}
		}
		schemas = append(schemas, name)
		if rest = strings.TrimLeft(rest, pathSpace); rest == "" {
			return schemas, true
		}
		if rest[0] != ',' {
			return nil, false
		}
		rest = strings.TrimLeft(rest[1:], pathSpace)
	}
}

const pathSpace = " \t\n\r\f\v"

// quotedName returns the name up to its closing quote, and what follows. Two quotes are one of the name.
func quotedName(text string) (name, rest string, ok bool) {
	for {
		before, after, isClosed := strings.Cut(text, `"`)
		if !isClosed {
			return "", "", false
		}
		name += before
		if !strings.HasPrefix(after, `"`) {
			return name, after, true
		}
		name += `"`
		text = after[1:]
	}
}

// lower folds ASCII letters, as the server does with names that are not quoted.
func lower(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, name)
}

// askPath asks for the path of the session, for the one that the server gives to sessions of the role that name none, and for
// the process that answers. Everything in it is qualified: nothing is known of the path yet.
const askPath = `SELECT pg_catalog.current_setting('search_path'),
	(SELECT s.reset_val FROM pg_catalog.pg_settings s WHERE s.name OPERATOR(pg_catalog.=) 'search_path'::pg_catalog.text),
	pg_catalog.pg_backend_pid()`

// askStrangers yields the schemas of a path, in its order, with whether strangers may create objects there, and whether the tables
// users and shardinguser_ownership are there.
var askStrangers = `SELECT g.name, ` + findings.StrangersOf("n.nspacl", "n.nspowner", "n") + ` IS NOT NULL,
	` + hasTable(schema.Users) + `, ` + hasTable(schema.Ownership) + `
FROM ROWS FROM (pg_catalog.unnest(%s::pg_catalog.text[])) WITH ORDINALITY AS g (name, place)
JOIN pg_catalog.pg_namespace n ON n.nspname OPERATOR(pg_catalog.=)
	(CASE WHEN g.name OPERATOR(pg_catalog.=) '$user'::pg_catalog.text THEN CURRENT_USER::pg_catalog.text ELSE g.name END)
ORDER BY g.place`

// hasTable is an expression for whether the schema n has a table.
func hasTable(name string) string {
	return `EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace OPERATOR(pg_catalog.=) n.oid
		AND c.relname OPERATOR(pg_catalog.=) '` + name + `'::pg_catalog.name)`
}

// Path is the search path by which a session resolves names. The zero value is the session's own.
type Path struct {
	Value     string // "pg_temp" at its end
	isLocal   bool   // a pooler is between, which hands the session on: each transaction has to set the path
	IsDropped bool   // the pooler did not pass the path on
	prepares  bool   // the driver prepares statements, in a transaction of its own
}

// Local returns the path that each transaction has to set; "" where the session has it.
func (p Path) Local() string {
	if !p.isLocal {
		return ""
	}
	return p.Value
}

// Settle finds out by which path a new session resolves names, and sets it where the server did not.
func Settle(ctx context.Context, conn *pgconn.PgConn, config *pgx.ConnConfig) (Path, error) {
	asked := config.RuntimeParams["search_path"]
	mode := config.DefaultQueryExecMode
	p := Path{
		Value: asked, isLocal: mode != pgx.QueryExecModeCacheStatement,
		prepares: mode != pgx.QueryExecModeExec && mode != pgx.QueryExecModeSimpleProtocol,
	}
	row, err := readRow(ctx, conn, askPath)
	switch {
	case err != nil && !isRefusal(conn, err):
		return p, fmt.Errorf("ask for the search path: %w", err)
	case err != nil:
		p.isLocal = true
		return p, nil //nolint:nilerr // A server that refuses the question serves all the same, by a path in each transaction.
	}
	p.IsDropped = row[0] != asked
	if p.IsDropped {
		if p.Value, err = RolesPath(ctx, conn, row[0], row[1]); err != nil {
			return p, err
		}
	}
	p.isLocal = p.isLocal || p.IsDropped || row[2] != fmt.Sprint(conn.PID())
	if p.Value, err = trustedFirst(ctx, conn, p.Value); err != nil {
		return p, err
	}
	if p.Value != asked && !p.isLocal {
		_, err = conn.Exec(ctx, SetPath(p.Value, false)).ReadAll()
	}
	return p, err
}

// RolesPath returns the path if a pooler did not pass ours on: the role's, which no client of the pooler can change in a session, or
// the session's, which the pooler may set, where only that one leads to the operator's tables, or to a table users.
func RolesPath(ctx context.Context, conn *pgconn.PgConn, session, role string) (string, error) {
	session, role = safePath(session), safePath(role)
	if session == role {
		return role, nil
	}
	const has = "; SELECT pg_catalog.to_regclass('" + schema.Users + "') IS NOT NULL, pg_catalog.to_regclass('" + schema.Ownership + "') IS NOT NULL"
	withUsers := ""
	for _, path := range []string{role, session} {
		row, err := readRow(ctx, conn, SetPath(path, true)+has)
		if err != nil {
			return "", fmt.Errorf("look for the table users: %w", err)
		}
		hasUsers, hasOurs := row[0] == "t", row[1] == "t"
		if hasUsers && hasOurs {
			return path, nil
		}
		if hasUsers && withUsers == "" {
			withUsers = path
		}
	}
	return cmp.Or(withUsers, role), nil
}

// trustedFirst moves schemas in which strangers may create tables, and schemas that do not exist, behind those where strangers may
// not and the table users and the operator's tables are: the table of a stranger must not come before the one that is meant.
func trustedFirst(ctx context.Context, conn *pgconn.PgConn, path string) (string, error) {
	schemas, ok := SplitPath(path)
	if !ok || len(schemas) < 3 { // with pg_temp
		return path, nil
	}
	var literals []string
	for _, name := range schemas {
		literals = append(literals, literal(name))
	}
	results, err := conn.Exec(ctx, fmt.Sprintf(askStrangers, "ARRAY["+strings.Join(literals, ", ")+"]")).ReadAll()
	switch {
	case err != nil && !isRefusal(conn, err):
		return path, fmt.Errorf("ask for the schemas of the search path: %w", err)
	case err != nil || len(results) != 1:
		return path, nil //nolint:nilerr // Where the server does not say, the order stays as it is.
	}
	closed, users, ours := map[string]bool{}, -1, -1
	for _, row := range results[0].Rows {
		if isOpen := string(row[1]) == "t"; isOpen {
			continue
		}
		closed[string(row[0])] = true
		at := slices.Index(schemas, string(row[0]))
		if users < 0 && string(row[2]) == "t" {
			users = at
		}
		if ours < 0 && string(row[3]) == "t" {
			ours = at
		}
	}
	if users < 0 || ours < 0 {
		return path, nil
	}
	last := max(users, ours)
	var before, behind []string
	for _, name := range schemas[:last] { // one that is not there may be created at any time
		if closed[name] {
			before = append(before, name)
		} else {
			behind = append(behind, name)
		}
	}
	schemas = slices.Concat(before, schemas[last:], behind)
	return joinPath(schemas), nil
}

// SetPath returns a statement that sets the path of the session, or of the transaction.
func SetPath(path string, isLocal bool) string {
	return fmt.Sprintf("SELECT pg_catalog.set_config('search_path', %s, %t)", literal(path), isLocal)
}

// literal is a text as an SQL literal. standard_conforming_strings is pinned.
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
