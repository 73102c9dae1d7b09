// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Helm runs bin/tools/helm in the root of the checkout with this kubeconfig, and returns its standard output. The standard
// error is part of the error.
func Helm(ctx context.Context, kubeconfig string, args ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "bin", "tools", "helm")
	if !isProgram(path) {
		return "", errors.New("helm is not in bin/tools: run `make prepare`")
	}
	home, err := os.MkdirTemp("", "shardinguser-helm-") // so that the developer's settings and plugins have no effect
	if err != nil {
		return "", fmt.Errorf("run helm: %w", err)
	}
	defer func() { _ = os.RemoveAll(home) }()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = root
	cmd.Env = []string{"HOME=" + home, "KUBECONFIG=" + kubeconfig, "PATH=" + os.Getenv("PATH"), uncollected}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("helm %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
