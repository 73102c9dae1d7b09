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

// Psql runs a file of the checkout with psql and these variables (name=value), and returns the output. The password of the
// DSN is in the environment, not in the arguments.
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
		return "", fmt.Errorf("run %s with psql: %w: %s", file, err, strings.TrimSpace(string(output)))
	}
	return string(output), nil
}

// clientProgram returns the path of a Postgres client program, in the server's folder or on PATH. The server's programs may be
// symbolic links into another folder.
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

// TwoRoles returns the DSNs of two new roles for the database of admin, with the rights that config/database/roles.sql grants
// to the operator's roles on existing tables. After tables were created, call GrantRoles.
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
