// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// reachable returns a folder with Postgres' programs that the scope's user can enter: bin, or a copy of it in the scope.
// The copy includes lib and share, which the programs find relative to their own folder.
func (s *scope) reachable(bin string) (string, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return "", fmt.Errorf("find Postgres' programs: %w", err)
	}
	if s.user == nil || traversable(bin) {
		return bin, nil
	}
	for _, name := range []string{filepath.Base(bin), "lib", "share"} {
		if err := s.copyFolder(filepath.Join(filepath.Dir(bin), name), name); err != nil {
			return "", fmt.Errorf("copy Postgres' programs to a folder that their user can enter: %w", err)
		}
	}
	return s.path(filepath.Base(bin)), nil
}

// copyFolder copies a folder into the scope's folder, with its symbolic links unchanged, and makes the user its owner.
func (s *scope) copyFolder(from, name string) error {
	if err := os.CopyFS(s.path(name), os.DirFS(from)); err != nil {
		return err
	}
	return filepath.WalkDir(s.path(name), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(s.user.Uid), int(s.user.Gid)) //nolint:gosec // of the scope's own folder, which is new
	})
}
