// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPictureShowsThePanels(t *testing.T) {
	folder := t.TempDir()
	from, to := filepath.Join(folder, "run.json"), filepath.Join(folder, "picture.svg")
	content := `{"From": "2026-01-01T00:00:00Z", "To": "2026-01-01T00:02:00Z", "Panels": [
		{"type": "stat", "title": "Database", "GridPos": {"x": 0, "y": 0, "w": 6, "h": 4},
			"fieldConfig": {"defaults": {"mappings": [{"options": {"1": {"text": "up"}}}]}},
			"Lines": [{"Points": [[0, 0], [60, 1]]}]},
		{"type": "stat", "title": "Empty", "GridPos": {"x": 6, "y": 0, "w": 6, "h": 4}},
		{"type": "timeseries", "title": "Logins", "GridPos": {"x": 0, "y": 4, "w": 12, "h": 8},
			"fieldConfig": {"defaults": {"unit": "reqps", "custom": {"stacking": {"mode": "normal"}}}},
			"Lines": [{"Legend": "success", "Points": [[0, 1], [60, 2], [120, 1]]}, {"Legend": "failed", "Points": [[60, 1], [120, 4]]},
				{"Legend": "never", "Points": []}]}
	]}`
	if err := os.WriteFile(from, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := write(from, to); err != nil {
		t.Fatal(err)
	}
	picture, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", "Database", "up", "no data", "Logins", "success", "failed", "1 min", "/s"} {
		if !strings.Contains(string(picture), want) {
			t.Errorf("the picture does not show %q", want)
		}
	}
	if strings.Contains(string(picture), "never") {
		t.Error("a line without points is in the legend")
	}
	if err := os.WriteFile(from, []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := write(from, to); err == nil || !strings.Contains(err.Error(), "has no panels") {
		t.Errorf("a run without panels gives the error %v", err)
	}
}
