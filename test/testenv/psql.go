// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Psql runs a file of the checkout by psql, with these of its variables (name=value), and returns what that printed. It
// connects as the DSN says, whose password is in no process's arguments.
func Psql(ctx context.Context, dsn, file string, variables ...string) (string, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return "", fmt.Errorf("read the DSN: %w", err)
	}
	psql, err := clientProgram("psql")
	if err != nil {
		return "", err
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	args := []string{"--no-psqlrc", "--quiet", "--no-password", "--file=" + filepath.Join(root, file)}
	for _, variable := range variables {
		args = append(args, "--set="+variable)
	}
	cmd := exec.CommandContext(ctx, psql, args...)
	cmd.Env = append(os.Environ(),
		"PGHOST="+config.Host, "PGPORT="+strconv.Itoa(int(config.Port)), "PGDATABASE="+config.Database,
		"PGUSER="+config.User, "PGPASSWORD="+config.Password)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("run %s by psql: %w: %s", file, err, strings.TrimSpace(string(output)))
	}
	return string(output), nil
}

// clientProgram finds one of Postgres' other programs: beside the server's, also where these are only links, or on PATH.
func clientProgram(name string) (string, error) {
	if bin, err := found("find-postgres.sh"); err == nil {
		dirs := []string{bin}
		if server, err := filepath.EvalSymlinks(filepath.Join(bin, "postgres")); err == nil {
			dirs = append(dirs, filepath.Dir(server))
		}
		for _, dir := range dirs {
			if path := filepath.Join(dir, name); isProgram(path) {
				return path, nil
			}
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("find %s: %w; on Debian it is in the package postgresql-client", name, err)
	}
	return path, nil
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode().Perm()&0o111 != 0
}

// TwoRoles are DSNs for the same database as admin's, which is an administrator's on the shared server, as two fresh roles
// with the rights that config/database/roles.sql gives the operator's two: on what is there. Later GrantRoles gives the rest.
func TwoRoles(t testing.TB, admin string, variables ...string) (controller, login string) {
	t.Helper()
	controller, login = Role(t, admin), Role(t, admin)
	GrantRoles(t, admin, controller, login, variables...)
	return controller, login
}

// GrantRoles runs config/database/roles.sql for the roles of two DSNs.
func GrantRoles(t testing.TB, admin, controller, login string, variables ...string) {
	t.Helper()
	for name, dsn := range map[string]string{"controller": controller, "login": login} {
		config, err := pgx.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		variables = append(variables, name+"="+config.User)
	}
	if _, err := Psql(t.Context(), admin, "config/database/roles.sql", variables...); err != nil {
		t.Fatal(err)
	}
}
