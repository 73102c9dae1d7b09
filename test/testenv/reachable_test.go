// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestProgramsThatTheServersUserCannotReachAreCopied(t *testing.T) {
	closed := filepath.Join(t.TempDir(), "closed")
	for name, content := range map[string]string{"bin/postgres": "program", "lib/libpq.so.5": "library", "share/postgres.bki": "data"} {
		path := filepath.Join(closed, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("libpq.so.5", filepath.Join(closed, "lib", "libpq.so")); err != nil {
		t.Fatal(err)
	}

	// A chown to the current user needs no root.
	s := &scope{dir: t.TempDir(), user: &syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())}} //nolint:gosec // IDs fit
	bin, err := s.reachable(filepath.Join(closed, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	if want := s.path("bin"); bin != want {
		t.Errorf("the programs are in %s, want %s", bin, want)
	}
	if !isProgram(filepath.Join(bin, "postgres")) {
		t.Error("the copy cannot be executed")
	}
	if target, err := os.Readlink(s.path("lib", "libpq.so")); err != nil || target != "libpq.so.5" {
		t.Errorf("the library's link has the target %q, %v", target, err)
	}
	if !exists(s.path("share", "postgres.bki")) {
		t.Error("the server's data are missing")
	}
}

func TestProgramsThatTheServersUserCanReachAreNotCopied(t *testing.T) {
	s := &scope{dir: t.TempDir(), user: &syscall.Credential{}}
	if bin, err := s.reachable("/usr"); err != nil || bin != "/usr" {
		t.Errorf("got %q, %v, want the same folder", bin, err)
	}
}
