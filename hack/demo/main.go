// SPDX-License-Identifier: Apache-2.0

// Command demo shows what the operator does, on a real API server and a real Postgres that it starts and stops: `make demo`.
// Each step of its story explains itself, runs commands that you could type, and checks their results.
//
//	STAY=0   end after the story, with exit code 1 if a step failed; otherwise keep running until Ctrl-C
package main

import (
	"context"
	"flag"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

func main() {
	stay := flag.Bool("stay", !slices.Contains([]string{"0", "false", "no"}, os.Getenv("STAY")),
		"keep running after the last step until Ctrl-C; STAY=0 in the environment turns it off")
	flag.Parse()
	os.Exit(run(newScreen(), *stay))
}

// Exit codes.
const (
	exitGood        = 0
	exitBad         = 1
	exitInterrupted = 130 // of a program that SIGINT ended
)

// run builds the stage, plays the story, and stops everything. It returns the exit code.
func run(out *screen, stay bool) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	out.say("%s", out.paint(bold, "shardinguser-operator: accounts of a sharding system as Kubernetes resources"))
	out.say("")
	s := &stage{}
	defer func() {
		if err := s.strike(); err != nil {
			out.bad("%v", err)
			code = max(code, exitBad)
		}
	}()
	if err := s.build(ctx, out); err != nil {
		if ctx.Err() != nil {
			return exitInterrupted
		}
		out.bad("%v", err)
		return exitBad
	}

	begun := time.Now()
	bad, err := play(ctx, s, out)
	switch {
	case ctx.Err() != nil:
		out.say("\nInterrupted; stopping everything.")
		return exitInterrupted
	case err != nil:
		out.say("")
		out.bad("%v", err)
		return exitBad
	case bad > 0:
		out.say("")
		out.bad("%d of %d steps failed, see above", bad, len(steps()))
		code = exitBad
	default:
		out.say("")
		out.good("all %d steps succeeded (%s)", len(steps()), took(begun))
	}
	if !stay {
		return code
	}
	s.hints(out)
	out.say("\nEverything keeps running until Ctrl-C.")
	select {
	case <-ctx.Done():
		out.say("\nStopping everything.")
	case <-s.manager.Ended():
		out.bad("%v", s.manager.Err())
		code = exitBad
	}
	return code
}

// play runs the steps and counts those that failed. It returns an error if the story cannot continue.
func play(ctx context.Context, s *stage, out *screen) (bad int, err error) {
	// If the manager ends, cancel the step.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.manager.Ended():
			cancel()
		case <-ctx.Done():
		}
	}()

	all := steps()
	for i, step := range all {
		out.heading(i+1, len(all), step.title, step.explanation)
		err := step.run(ctx, &story{stage: s, screen: out})
		if ended := s.manager.Err(); ended != nil {
			return bad, ended
		}
		if ctx.Err() != nil {
			return bad, ctx.Err()
		}
		if err != nil {
			out.bad("%v", err)
			bad++
		}
	}
	return bad, nil
}
