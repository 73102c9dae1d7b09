// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// settings are the settings of a run.
type settings struct {
	program  string // the manager
	duration time.Duration
	seed     uint64
	users    int
	folder   string // for reports
	keepLogs bool   // also after a successful run
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "soak: %v\n", err)
		os.Exit(1)
	}
}

// run runs the program. Everything that it starts has ended when it returns.
func run(ctx context.Context, args []string) error {
	root, err := testenv.Root()
	if err != nil {
		return err
	}
	var set settings
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.StringVar(&set.program, "manager", filepath.Join(root, "bin", "manager"), "`program` to soak")
	flags.DurationVar(&set.duration, "duration", 10*time.Minute, "`time` of load and faults; start and end come on top")
	flags.Uint64Var(&set.seed, "seed", rand.Uint64N(1_000_000), "`number` that the plan of faults is drawn from (default a random one)")
	flags.IntVar(&set.users, "users", 60, "`number` of users")
	flags.StringVar(&set.folder, "out", filepath.Join(root, "bin", "soak"), "`folder` for the report")
	flags.BoolVar(&set.keepLogs, "keep-logs", false, "keep the logs also when nothing is broken")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if set.users < 20 {
		return errors.New("-users must be at least 20")
	}
	if _, err := os.Stat(set.program); err != nil {
		return fmt.Errorf("there is no manager: run `make soak`, which builds it: %w", err)
	}

	story := newStory(set)
	story.say("seed %d, %v, %d users", set.seed, set.duration, set.users)
	err = soak(ctx, set, story)
	// The run is reported, however it ended.
	path, reportErr := story.write(set.folder, err)
	if reportErr == nil {
		story.say("the report is %s", path)
	}
	if err != nil {
		err = fmt.Errorf("%w\nthe seed was %d", err, set.seed)
	}
	return errors.Join(err, reportErr)
}

// soak runs from start to end.
func soak(ctx context.Context, set settings, story *story) (err error) {
	s, err := newStage(ctx, set, story)
	if err != nil {
		return err
	}
	defer func() { //nolint:contextcheck // the end has its own limit
		if set.keepLogs || (err != nil && !errors.Is(err, context.Canceled)) {
			err = errors.Join(err, s.keepLogs())
		}
		err = errors.Join(err, s.close())
	}()
	return s.live(ctx)
}

// pause waits; it returns the error of the context.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
