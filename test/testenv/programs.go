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

// Root is the folder of the checkout that the current directory lies in.
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
			return "", fmt.Errorf("find the checkout: %s is not in one of shardinguser-operator", start)
		}
	}
}

// program finds one of the control plane's programs: in the folder KUBEBUILDER_ASSETS, or in bin/k8s of the checkout.
func program(name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	var dirs []string
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" {
		dirs = append(dirs, assets)
	}
	// Such folders hold no kube-controller-manager. The rest is taken from one place, as versions have to match.
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

// found is the path that one of hack's scripts prints, which know where to look for what Debian keeps off PATH.
func found(script string, args ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	output, err := exec.Command(filepath.Join(root, "hack", script), args...).Output() //nolint:noctx // ours, and short
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && len(exit.Stderr) > 0:
		return "", errors.New(strings.TrimSpace(string(exit.Stderr)))
	case err != nil:
		return "", fmt.Errorf("run hack/%s: %w", script, err)
	}
	return strings.TrimSpace(string(output)), nil
}

// unprivileged is whom servers run as that must not be root, as Postgres refuses to be; nil where we are not root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nil is what SysProcAttr means by "as ourselves"
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
	return nil, errors.New("it is not to run as root, and there is no user postgres or nobody to run it as")
}
