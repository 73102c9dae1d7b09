// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"

	"k8s.io/apimachinery/pkg/util/wait"
)

// A server is a program that listens on a given port.
type server struct {
	name    string // of the log file
	program string
	env     []string // besides that of this process

	// at returns the arguments for a port, and writes the files that contain the port.
	at func(*port) (args []string, err error)

	// answers reports whether the server is ready. By default, a server that accepts connections is.
	answers func(ctx context.Context, address string) bool
}

// serve starts a program on a free port of the loopback interface, and returns its address when it answers. A port that is
// not reserved may be taken meanwhile: then the program exits, and serve retries with another port.
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
	defer func() { _ = log.Close() }() // the program has its own descriptor
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(cmd.Environ(), program.env...)
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
