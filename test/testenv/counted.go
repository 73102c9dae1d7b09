// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Counted logs how many cases a test tried. `go test` shows no log of a package that passes. So, if TEST_COUNTS is a folder,
// Counted also writes the line to a file there, which `make test` prints.
func Counted(t testing.TB, format string, args ...any) {
	t.Helper()
	line := fmt.Sprintf(format, args...)
	t.Log(line)
	folder := os.Getenv("TEST_COUNTS")
	if folder == "" {
		return
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, filepath.Base(t.Name())), []byte(t.Name()+": "+line+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}
