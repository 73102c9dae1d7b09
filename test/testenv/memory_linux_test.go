// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"math"
	"strings"
	"testing"
)

func TestFoldersInMemoryMustFit(t *testing.T) {
	if folder := fitting("/proc", 0); folder != "" {
		t.Errorf("%s is used, but is not in memory", folder)
	}
	if folder := fitting("/nowhere", 0); folder != "" {
		t.Errorf("%s is used, but does not exist", folder)
	}
	if folder := fitting(memoryFolder, math.MaxUint64); folder != "" {
		t.Errorf("%s is used, but has too little space", folder)
	}
}

func TestTMPDIROverridesTheFolderInMemory(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s, err := newScope("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	if strings.HasPrefix(s.dir, memoryFolder) {
		t.Errorf("the scope is in %s", s.dir)
	}
}
