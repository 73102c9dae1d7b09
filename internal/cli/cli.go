// SPDX-License-Identifier: Apache-2.0

// Package cli is kubectl-shardinguser, the plugin for kubectl: a file for each command.
//
// The decisions of a command (the state of a user, a diagnosis, a difference) are pure functions beside it. Commands read the
// API server with the rights of the user who runs them. Import reads the database, by a DSN from a file or the
// environment, and logins and history may. Results go to the standard output and everything else to the standard error, so that output can be piped. No
// password or hash is printed unless that was requested.
//
// Exit codes are the same for all commands: [ExitDone], [ExitFinding], [ExitFailed]; import has [ExitLeftOut] besides.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// Exit codes.
const (
	// ExitDone: it was done, and there is nothing wrong.
	ExitDone = 0

	// ExitFinding: the question was answered, by no. Something is wrong with a user, there is a difference, or what was asked
	// for did not come about.
	ExitFinding = 1

	// ExitFailed: there is no answer. The command line is wrong, or the cluster, the database or a right is missing.
	ExitFailed = 2

	// ExitLeftOut: import did its work, except for rows that no ShardingUser can be made of. It listed them.
	ExitLeftOut = 3
)

// A finding is the error of a command that did its work and found something wrong. Its text is empty where the output says
// it already.
type finding string

func (f finding) Error() string { return string(f) }

func findingf(format string, args ...any) error { return finding(fmt.Sprintf(format, args...)) }

// leftOutRows is the error of an import that left out so many rows, and did all else.
type leftOutRows int

func (n leftOutRows) Error() string {
	return fmt.Sprintf("%d rows were skipped, see above (exit code %d).", int(n), ExitLeftOut)
}

// isFinding tells whether an error is nothing but findings.
func isFinding(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(joined.Unwrap(), func(err error) bool { return !isFinding(err) })
	}
	var found finding
	return errors.As(err, &found)
}

// env is what commands share.
type env struct {
	In          io.Reader
	Out, ErrOut *stream
	flags       *genericclioptions.ConfigFlags
	terminal    terminal
}

// Run is the program, with its arguments (its own name is none of them). It returns the exit code.
func Run(ctx context.Context, version string, streams genericiooptions.IOStreams, args []string) int {
	e := newEnv(streams)
	root := newRoot(version, e) //nolint:contextcheck // commands take the context that they are executed with
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	code := exitCode(err)
	switch {
	case code == ExitFailed:
		e.ErrOut.say("error: %v", explain(err))
	case err != nil && err.Error() != "":
		e.ErrOut.say("%v", err)
	}
	return code
}

// exitCode is the one that an error of a command stands for.
func exitCode(err error) int {
	var leftOut leftOutRows
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &leftOut):
		return ExitLeftOut
	case isFinding(err):
		return ExitFinding
	}
	return ExitFailed
}

func newRoot(version string, e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-shardinguser",
		Short: "Manage the accounts of a sharding system",
		Long: `Manage the accounts of a sharding system: the ShardingUsers of a cluster, and the rows that they own.

Exit codes:
  0  done, and no problem found
  1  a problem, a pending change, or an action without effect, as the output says
  2  no result: the command line is wrong, or the cluster, the database or a right is missing
  3  import succeeded except for skipped rows, which it lists`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		// The name that users of kubectl see.
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl shardinguser"},
	}
	root.SetIn(e.In)
	root.SetOut(e.Out)
	root.SetErr(e.ErrOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w\nSee `%s --help`", err, cmd.CommandPath())
	})
	e.flags.AddFlags(root.PersistentFlags())
	root.AddCommand(
		newList(e), newUnlock(e), newLock(e), newSignOut(e), newSetPassword(e), newLogins(e), newHistory(e), newDoctor(e), newOrphans(e), newCheck(e), newImport(e),
		newTransfer(e),
	)
	if err := root.RegisterFlagCompletionFunc("namespace", e.completeNamespaces); err != nil {
		panic(err) // the flag is the one that ConfigFlags just added
	}
	return root
}
