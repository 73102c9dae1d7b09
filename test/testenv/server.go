// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"

	"k8s.io/apimachinery/pkg/util/wait"
)

// A server is a program that listens on a port which it is told.
type server struct {
	name    string // of its log
	program string

	// at is its arguments for a port; what else tells it of that, it writes.
	at func(*port) (args []string, err error)

	// answers tells whether it serves by now. The default is that it takes connections.
	answers func(ctx context.Context, address string) bool
}

// serve starts it on a free port of the loopback interface, and returns that when it answers. Where nothing keeps the port, it
// may be taken by the time it is wanted: then the program ends, and gets another.
func (s *scope) serve(ctx context.Context, program server) (address string, err error) {
	for attempt := 1; ; attempt++ {
		port, err := s.port()
		if err != nil {
			return "", err
		}
		args, err := program.at(port)
		if err != nil {
			return "", err
		}
		if err = s.serveAt(ctx, program, port.address(), args); err == nil {
			return port.address(), nil
		}
		if attempt == 3 || !errors.Is(err, errEnded) {
			return "", err
		}
	}
}

func (s *scope) serveAt(ctx context.Context, program server, address string, args []string) error {
	cmd, err := s.command(program.name, program.program, args...)
	if err != nil {
		return err
	}
	log, err := s.log(program.name)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the program's is a copy
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", program.name, err)
	}
	answers := program.answers
	if answers == nil {
		answers = takesConnections
	}
	running, _ := whileRunning(context.WithoutCancel(ctx), cmd, program.name)
	err = wait.PollUntilContextTimeout(ctx, pollInterval, startTimeout, true, func(ctx context.Context) (bool, error) {
		if running.Err() != nil {
			return false, context.Cause(running)
		}
		return answers(ctx, address), nil
	})
	if err != nil {
		return s.withLog(program.name, fmt.Errorf("start %s: %w", program.name, err))
	}
	return nil
}

func takesConnections(ctx context.Context, address string) bool {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	return err == nil && connection.Close() == nil
}

// writeAll writes files into the scope's folder, by their names.
func (s *scope) writeAll(files map[string]string) error {
	for name, content := range files {
		if _, err := s.write(name, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
