// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// A database is the database of the sharding system with the privileges of its administrator.
type database struct {
	dsn  string
	psql string // path of the program, empty if there is none
	conn *pgx.Conn
}

func openDatabase(ctx context.Context, root, dsn string) (*database, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	return &database{dsn: dsn, psql: findPsql(ctx, root), conn: conn}, nil
}

// findPsql returns the path of psql on PATH or next to the server, or an empty one.
func findPsql(ctx context.Context, root string) string {
	if path, err := exec.LookPath("psql"); err == nil {
		return path
	}
	bin, err := exec.CommandContext(ctx, filepath.Join(root, "hack", "find-postgres.sh")).Output()
	if err != nil {
		return ""
	}
	path, err := exec.LookPath(filepath.Join(strings.TrimSpace(string(bin)), "psql"))
	if err != nil {
		return ""
	}
	return path
}

// psqlLine returns the command line that runs a statement.
func psqlLine(statement string) string {
	return `psql "$DSN" -c "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(statement) + `"`
}

// table returns the result of a query as psql prints it.
func (d *database) table(ctx context.Context, query string) (string, error) {
	if d.psql != "" {
		cmd := exec.CommandContext(ctx, d.psql, "--no-psqlrc", "--pset=pager=off", "--command="+query, d.dsn)
		// libpq rejects some DSNs that pgx accepts. The demo prints the table itself then.
		if output, err := cmd.Output(); err == nil {
			return string(output), nil
		}
	}
	// The simple protocol returns every value as text.
	rows, err := d.conn.Query(ctx, query, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return "", fmt.Errorf("query: %w", err)
	}
	defer rows.Close()
	var header []string
	for _, column := range rows.FieldDescriptions() {
		header = append(header, column.Name)
	}
	lines := [][]string{header}
	for rows.Next() {
		var line []string
		for _, value := range rows.RawValues() {
			line = append(line, string(value))
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		return "", fmt.Errorf("query: %w", err)
	}
	return align(lines), nil
}

// align returns lines as a table. The first line is the header.
func align(lines [][]string) string {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for n, line := range lines {
		for i, cell := range line {
			if i > 0 {
				b.WriteString("|")
			}
			b.WriteString(" " + cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+1))
		}
		b.WriteString("\n")
		if n == 0 {
			for i, width := range widths {
				if i > 0 {
					b.WriteString("+")
				}
				b.WriteString(strings.Repeat("-", width+2))
			}
			b.WriteString("\n")
		}
	}
	if len(lines) == 2 {
		return b.String() + "(1 row)\n"
	}
	return fmt.Sprintf("%s(%d rows)\n", b.String(), len(lines)-1)
}

// A row has the columns of the table users that the story checks.
type row struct {
	Hash     string
	Roles    string
	Failed   int
	Unlocked bool
	LoggedIn bool // at least once
	Updated  string
}

// row returns the row of an account, or pgx.ErrNoRows if there is none.
func (d *database) row(ctx context.Context, username string) (row, error) {
	rows, err := d.conn.Query(ctx, `SELECT password_hash, roles::text, failed_login_attempts,
		locked_until IS NULL, last_login_at IS NOT NULL, updated_at::text FROM users WHERE username = $1`, username)
	if err != nil {
		return row{}, fmt.Errorf("read the row of %s: %w", username, err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return row{}, fmt.Errorf("read the row of %s: %w", username, err)
	}
	return r, nil
}

// An attempt has the columns of the record of logins that the story checks.
type attempt struct {
	Username string
	Outcome  string
}

// attempts returns the recorded attempts in their order.
func (d *database) attempts(ctx context.Context) ([]attempt, error) {
	rows, err := d.conn.Query(ctx, "SELECT username, outcome FROM login_attempts ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("read the record of logins: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[attempt])
	if err != nil {
		return nil, fmt.Errorf("read the record of logins: %w", err)
	}
	return list, nil
}

// shown returns the DSN for printing: in full if the server belongs to the demo and stops with it, otherwise without the
// password.
func (d *database) shown(own bool) string {
	if own {
		return d.dsn
	}
	config := d.conn.Config()
	return (&url.URL{
		Scheme: "postgres", User: url.User(config.User),
		Host: fmt.Sprintf("%s:%d", config.Host, config.Port), Path: "/" + config.Database,
	}).String()
}
