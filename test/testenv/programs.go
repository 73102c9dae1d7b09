// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const module = "module github.com/sharding-system/shardinguser-operator\n"

// Root returns the root of the checkout that contains the current directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the checkout: %w", err)
	}
	for start := dir; ; dir = filepath.Dir(dir) {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(content, []byte(module)) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find the checkout: %s is not in a checkout of shardinguser-operator", start)
		}
	}
}

// program returns the path of a program of the control plane, in the folder KUBEBUILDER_ASSETS or in bin/k8s of the checkout.
func program(name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	var dirs []string
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" {
		dirs = append(dirs, assets)
	}
	// KUBEBUILDER_ASSETS contains no kube-controller-manager. The other programs come from one folder: their versions must match.
	if len(dirs) == 0 || name == "kube-controller-manager" {
		dirs = append(dirs, filepath.Join(root, "bin", "k8s"))
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if isProgram(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not in %s: run `make prepare`", name, strings.Join(dirs, " or "))
}

// found returns the path that a script of hack prints. The scripts know the folders of programs that Debian keeps off PATH.
func found(script string, args ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	output, err := exec.Command(filepath.Join(root, "hack", script), args...).Output() //nolint:noctx // the script is short
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && len(exit.Stderr) > 0:
		return "", errors.New(strings.TrimSpace(string(exit.Stderr)))
	case err != nil:
		return "", fmt.Errorf("run hack/%s: %w", script, err)
	}
	return strings.TrimSpace(string(output)), nil
}

// unprivileged returns the user of servers that must not run as root, such as Postgres; nil if this process is not root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // for SysProcAttr, nil is the user of this process
	}
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(account.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(account.Gid, 10, 32)
		if uidErr != nil || gidErr != nil || uid == 0 {
			continue
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("it must not run as root, and there is no user postgres or nobody")
}
