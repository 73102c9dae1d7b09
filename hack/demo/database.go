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

// A database is the sharding system's, as its administrator sees it.
type database struct {
	dsn  string
	psql string // path of the program, empty where there is none
	conn *pgx.Conn
}

func openDatabase(ctx context.Context, root, dsn string) (*database, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	return &database{dsn: dsn, psql: findPsql(ctx, root), conn: conn}, nil
}

// findPsql looks on PATH and beside the server.
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

// psqlLine is how one would type a statement.
func psqlLine(statement string) string {
	return `psql "$DSN" -c "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(statement) + `"`
}

// table is the result of a query as psql prints it.
func (d *database) table(ctx context.Context, query string) (string, error) {
	if d.psql != "" {
		cmd := exec.CommandContext(ctx, d.psql, "--no-psqlrc", "--pset=pager=off", "--command="+query, d.dsn)
		// It may be of another kind than pgx, and not like a DSN that pgx likes: then we print the table ourselves.
		if output, err := cmd.Output(); err == nil {
			return string(output), nil
		}
	}
	// The simple protocol gives every value as text.
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

// align prints lines, the first of which is the header, as a table.
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

// A row is what the story looks at in a row of the table users.
type row struct {
	Hash     string
	Roles    string
	Failed   int
	Unlocked bool
	LoggedIn bool // at any time
	Updated  string
}

// row reads an account's row; pgx.ErrNoRows where there is none.
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

// An attempt is what the story looks at in the record of log-ins.
type attempt struct {
	Username string
	Outcome  string
}

// attempts are those on record, in the order in which they were made.
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

// shown is the DSN as it may be printed: in full where the server is the demo's own and goes with it, else without its
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
