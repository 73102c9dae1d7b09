// SPDX-License-Identifier: Apache-2.0

// Command kubectl-shardinguser is a plugin for kubectl, which finds it on PATH and runs it as `kubectl shardinguser`.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/sharding-system/shardinguser-operator/internal/cli"
)

// version is set by the linker.
var version = "development"

func main() { os.Exit(run()) }

func run() int {
	// SIGQUIT and SIGHUP too: their default action would leave the terminal without echo.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	return cli.Run(ctx, version, genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}, os.Args[1:])
}
