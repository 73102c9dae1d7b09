// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Kill ends programs of the control plane, etcd and kube-apiserver, with SIGKILL, and returns when they have ended. Their
// data stay for Restart.
func (c *ControlPlane) Kill(ctx context.Context, programs ...string) error {
	for _, program := range programs {
		pid, err := c.PID(program)
		if err != nil {
			return err
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill %s: %w", program, err)
		}
		// Its parent process waits for it, so the id disappears.
		err = wait.PollUntilContextTimeout(ctx, pollInterval, startTimeout, true, func(context.Context) (bool, error) {
			return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH), nil
		})
		if err != nil {
			return fmt.Errorf("wait for the end of %s: %w", program, err)
		}
	}
	return nil
}

// Restart starts killed programs again, in this order, on the same data and ports, and returns when the API server answers.
func (c *ControlPlane) Restart(ctx context.Context, programs ...string) error {
	for _, name := range programs {
		path, err := program(name)
		if err != nil {
			return err
		}
		args, err := c.scope.arguments(name)
		if err != nil {
			return err
		}
		cmd, err := c.scope.command(name, path, args...)
		if err != nil {
			return err
		}
		log, err := c.scope.log(name)
		if err != nil {
			return err
		}
		cmd.Stdout, cmd.Stderr = log, log
		err = errors.Join(cmd.Start(), log.Close()) // the program has its own descriptor
		if err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
		running, cancel := whileRunning(ctx, cmd, name)
		defer cancel()
		ctx = running
	}
	if err := c.waitFor(ctx, client.ObjectKey{Name: defaultName}, &corev1.Namespace{}); err != nil {
		return c.scope.withLog("kube-apiserver", err)
	}
	return nil
}
