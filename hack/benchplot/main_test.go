// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestPlotNamesTheFiguresWithAims(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.json")
	content := `{"version": "v1", "cores": 2, "results": [
		{"what": "reached", "unit": "s", "value": 1, "limit": 2, "ratio": 0.5, "aim": {"at": 1.2}},
		{"what": "missed by far", "unit": "ms", "value": 60000, "aim": {"at": 1000, "value": true}},
		{"what": "enough", "unit": "a second", "value": 32, "ratio": 2, "aim": {"at": 1.7, "least": true}},
		{"what": "without an aim", "unit": "ms", "value": 3}
	]}`
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
	for _, want := range []string{"<svg", "reached: 0.5 of its limit", "missed by far: 60000 ms", "enough: 2 of its limit"} {
		if !bytes.Contains(svg, []byte(want)) {
			t.Errorf("the plot lacks %q", want)
		}
	}
	if bytes.Contains(svg, []byte("without an aim")) {
		t.Error("the plot has a figure without an aim")
	}
}

func TestRunWithoutAimsIsRejected(t *testing.T) {
	if _, _, err := draw(report{}); err == nil {
		t.Error("draw accepted a run without aims")
	}
}
