// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestPlotNamesTheFaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.json")
	content := `{"version": "v1", "seed": 42, "load": 5, "seconds": 60,
		"faults": [{"kind": "Postgres stopped", "begin": 10, "end": 14, "recovered": 17}],
		"quiet": [{"begin": 1, "end": 4}],
		"answers": [{"passed": 1, "refused": 5}, {"passed": 2, "away": 3}, {"lost": 4}],
		"samples": [{"at": 1, "replica": "a", "memory": 60, "writes": 2}, {"at": 2, "replica": "b", "memory": 61}],
		"violations": ["a lock was lost"], "broken": [15]}`
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(path); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(filepath.Join(filepath.Dir(path), "run.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", "Postgres stopped", "seed 42", "logins a second", "status writes a second", "memory, MiB", "PROMISE BROKEN"} {
		if !bytes.Contains(svg, []byte(want)) {
			t.Errorf("the plot lacks %q", want)
		}
	}
}

func TestEmptyRunIsPlotted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.json")
	if err := os.WriteFile(path, []byte(`{"seconds": 0}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(path); err != nil {
		t.Fatal(err)
	}
}
