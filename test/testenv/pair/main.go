// SPDX-License-Identifier: Apache-2.0

// Command pair starts the servers of package testenv for tests in other modules, whose dependencies conflict with those of the
// operator: a control plane with config/default and config/generated-passwords, a Postgres server, and the operator.
//
// When the operator is ready, the command prints one line of JSON, a [pair]. Then it reads commands from its standard input,
// one a line, and answers each with an empty line:
//
//	halt     stop Postgres
//	start    start Postgres again
//
// At the end of its input it stops everything. The input ends at the latest with the process that started the command.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const patience = 3 * time.Minute // for busy machines

// A pair contains the addresses of the servers.
type pair struct {
	Kubeconfig string // path of an administrator's
	DSN        string // of an administrator, for the operator's database
	Login      string // address of the login API, host:port
}

func main() {
	// Ctrl-C also reaches the process that started this one. When it ends, so does the input, and run cleans up.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM)
	if err := run(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, commands io.Reader, answers io.Writer) (err error) {
	folder, err := os.MkdirTemp("", "shardinguser-pair-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	program, err := testenv.Build(ctx, folder, "manager")
	if err != nil {
		return err
	}

	plane, err := testenv.StartControlPlane(ctx, testenv.WithControllerManager())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	// The commands stop the server, so it must not be an external one.
	if err := os.Unsetenv("TEST_DATABASE_DSN"); err != nil {
		return err
	}
	postgres, err := testenv.StartPostgres(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, postgres.Stop()) }() //nolint:contextcheck // it has its own limit
	dsn, err := postgres.NewDatabase(ctx)
	if err != nil {
		return err
	}
	manager, err := startOperator(ctx, plane, program, dsn)
	if err != nil {
		return err
	}
	p := pair{Kubeconfig: plane.Kubeconfig(), DSN: dsn, Login: manager.Login}
	if err := json.NewEncoder(answers).Encode(p); err != nil {
		return err
	}
	err = serve(ctx, postgres, commands, answers)
	return errors.Join(err, manager.Stop(patience))
}

// startOperator applies config/default, and runs the manager with its ServiceAccount.
func startOperator(ctx context.Context, plane *testenv.ControlPlane, program, dsn string) (*testenv.Manager, error) {
	rights, err := plane.Install(ctx)
	if err != nil {
		return nil, err
	}
	if err := allowGeneration(ctx, plane); err != nil {
		return nil, err
	}
	manager, err := plane.StartManager(testenv.ManagerOptions{Program: program, Rights: rights, DSN: dsn})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return manager, manager.Ready(ctx)
}

// allowGeneration enables config/generated-passwords, which a sample needs.
func allowGeneration(ctx context.Context, plane *testenv.ControlPlane) (err error) {
	const component = "- ../generated-passwords"
	root, err := testenv.Root()
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "shardinguser-config-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(root, "config"))); err != nil {
		return err
	}
	file := filepath.Join(folder, "default", "kustomization.yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	on := strings.Replace(string(content), "#"+component, component, 1)
	if on == string(content) {
		return fmt.Errorf("%s has no line #%s", file, component)
	}
	if err := os.WriteFile(file, []byte(on), 0o600); err != nil {
		return err
	}
	_, err = plane.Kubectl(ctx, "apply", "-k", filepath.Dir(file))
	return err
}

// serve executes commands until the input ends.
func serve(ctx context.Context, postgres *testenv.Postgres, commands io.Reader, answers io.Writer) error {
	lines := bufio.NewScanner(commands)
	for lines.Scan() {
		var err error
		switch command := lines.Text(); command {
		case "halt":
			err = postgres.Halt(ctx)
		case "start":
			err = postgres.Start(ctx)
		default:
			err = fmt.Errorf("unknown command %q", command)
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(answers)
	}
	return lines.Err()
}
