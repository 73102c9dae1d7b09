// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// sizes are the dimensions of a run.
type sizes struct {
	program   string   // the manager
	arguments []string // additional arguments

	users    int           // with hashed passwords, and created during edits
	plain    []int         // with plain passwords; later rows use the first
	scale    int           // of the act scale
	unowned  int           // rows without an owner
	sweeps   time.Duration // in which their memory is measured
	locks    int           // rows that are locked at once
	repeat   int           // repetitions of single operations
	rounds   int           // of alternating measurements, because the load of the machine varies
	clients  []int         // concurrent logins
	window   time.Duration // of logins in each round
	requests int           // of verify in each round
	calm     time.Duration // without a status write, after which the manager is idle
	idle     time.Duration

	folder  string        // for results
	profile time.Duration // of CPU profiles; 0 for none
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// run runs the program. Everything that it starts has ended when it returns.
func run(ctx context.Context, args []string) error {
	root, err := testenv.Root()
	if err != nil {
		return err
	}
	size := sizes{
		program: filepath.Join(root, "bin", "manager"),
		locks:   1000, rounds: 5, clients: []int{8, 64}, window: 4 * time.Second, requests: 4000, calm: time.Second,
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&size.users, "users", 10_000, "`number` of users with hashed passwords")
	plain := flags.String("plain", "1000", "comma-separated `numbers` of users with plain passwords")
	flags.IntVar(&size.scale, "scale", 100_000, "`number` of users of the row scale")
	flags.IntVar(&size.unowned, "unowned", 1_000_000, "`number` of rows of the row unowned")
	flags.DurationVar(&size.sweeps, "sweeps", 70*time.Second, "`time` of sweeps of the row unowned")
	flags.IntVar(&size.repeat, "repeat", 100, "`number` of times that things are done that are done one at a time")
	flags.DurationVar(&size.idle, "idle", 10*time.Minute, "`time` to be idle")
	asked := flags.String("rows", "", "comma-separated `names` of rows: "+strings.Join(rowNames(), ", ")+" (default all but scale)")
	flags.StringVar(&size.folder, "out", filepath.Join(root, "bin", "bench"), "`folder` for the results")
	flags.DurationVar(&size.profile, "profile", 0, "`time` that CPU profiles of the manager take, one a row; there is one of the heap, too")
	arguments := flags.String("manager-args", "", "more `arguments` for the manager, separated by spaces")
	if err := flags.Parse(args); err != nil {
		return err
	}
	size.arguments = strings.Fields(*arguments)
	if size.plain, err = numbers(*plain); err != nil {
		return err
	}
	rows, err := chosen(*asked)
	if err != nil {
		return err
	}
	if _, err := os.Stat(size.program); err != nil {
		return errors.New("there is no bin/manager: run `make bench`, which builds it")
	}
	begun := time.Now()
	say := func(format string, arguments ...any) {
		fmt.Fprintf(os.Stderr, "%7.1f s  %s\n", time.Since(begun).Seconds(), fmt.Sprintf(format, arguments...))
	}
	report := newReport(ctx, size, begun)
	for _, a := range acts(size) {
		if !a.has(rows) {
			continue
		}
		results, err := a.play(ctx, size, rows, say)
		// The results are reported, even after a failure.
		report.Results = append(report.Results, results...)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", a.name, err), report.write(size.folder))
		}
	}
	report.Seconds = time.Since(begun).Seconds()
	if err := report.write(size.folder); err != nil {
		return err
	}
	if broken := report.broken(); len(broken) > 0 {
		return fmt.Errorf("counters are wrong:\n  %s", strings.Join(broken, "\n  "))
	}
	return nil
}

func numbers(list string) (all []int, err error) {
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a list of numbers", list)
		}
		all = append(all, n)
	}
	return all, nil
}

// chosen returns the selected rows; without a selection, all except the scale run.
func chosen(list string) ([]string, error) {
	known := rowNames()
	if list == "" {
		return slices.DeleteFunc(known, func(name string) bool { return name == "scale" }), nil
	}
	asked := strings.Split(list, ",")
	for _, name := range asked {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("there is no row %q: there are %s", name, strings.Join(known, ", "))
		}
	}
	return asked, nil
}

var concurrencyDefault = regexp.MustCompile(`--max-concurrent-reconciles[^\n]*\n[^\n]*\(default (\d+)\)`)

// concurrencyOf returns the manager's default number of concurrent reconciles, from its help.
func concurrencyOf(ctx context.Context, program string) (int, error) {
	help, _ := exec.CommandContext(ctx, program, "--help").CombinedOutput() // the status does not matter
	match := concurrencyDefault.FindSubmatch(help)
	if match == nil {
		return 0, errors.New("the manager's help does not tell the default of --max-concurrent-reconciles")
	}
	return strconv.Atoi(string(match[1]))
}
