// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// write writes the report into the folder, by the time of the run and as the latest, beside the JSON, and returns its
// path. The report ends with the error by which the run ended.
func (t *story) write(folder string, failed error) (path string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("write the report: %w", err)
	}
	content, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write the report: %w", err)
	}
	for _, name := range []string{t.name(), "latest"} {
		var text strings.Builder
		t.markdown(&text, name, failed)
		for suffix, content := range map[string][]byte{".json": append(content, '\n'), ".md": []byte(text.String())} {
			if err := os.WriteFile(filepath.Join(folder, name+suffix), content, 0o644); err != nil {
				return "", fmt.Errorf("write the report: %w", err)
			}
		}
	}
	return filepath.Join(folder, t.name()+".md"), nil
}

func (t *story) markdown(w io.Writer, name string, failed error) {
	verdict := "every promise was kept"
	switch {
	case len(t.Violations) > 0:
		verdict = "**a promise was broken**"
	case failed != nil:
		verdict = "**it did not get to its end**"
	}
	fmt.Fprintf(w, "# Soak %s: %s\n\n", t.Begun.UTC().Format("2006-01-02 15:04"), verdict)
	fmt.Fprintf(w, "%s, %s, %d cores; seed %d, %v of load on %d users and two replicas.\n\n", t.Version, t.Go, t.Cores, t.Seed, t.set.duration, t.set.users)
	fmt.Fprintf(w, "![What happened when](%s.svg)\n", name)
	for _, v := range t.Violations {
		fmt.Fprintf(w, "\n- BROKEN: %s\n", v)
	}
	if failed != nil {
		fmt.Fprintf(w, "\nIt ended by this:\n\n```\n%v\n```\n", failed)
	}
	for _, note := range t.Notes {
		fmt.Fprintf(w, "\n%s\n", note)
	}
	t.faultTable(w)

	fmt.Fprintf(w, "\n## Logins\n\n| | |\n| --- | --- |\n")
	var sum answers
	for _, a := range t.Answers {
		sum.Passed, sum.Refused, sum.Away, sum.Lost = sum.Passed+a.Passed, sum.Refused+a.Refused, sum.Away+a.Away, sum.Lost+a.Lost
	}
	fmt.Fprintf(w, "| let in (200) | %d |\n| refused (401) | %d |\n| not decided (503, 429) | %d |\n| without an answer | %d |\n",
		sum.Passed, sum.Refused, sum.Away, sum.Lost)
	for _, outcome := range slices.Sorted(maps.Keys(t.Record)) {
		fmt.Fprintf(w, "| recorded: %s | %d |\n", outcome, t.Record[outcome])
	}
	fmt.Fprintf(w, "\n## Counts\n\n| | |\n| --- | --- |\n")
	for _, what := range slices.Sorted(maps.Keys(t.Counts)) {
		fmt.Fprintf(w, "| %s | %d |\n", what, t.Counts[what])
	}
	fmt.Fprintf(w, "| quiet points at which everything was compared | %d |\n", len(t.Quiet))
	fmt.Fprintf(w, "\n## At most\n\n| | |\n| --- | --- |\n")
	for _, what := range slices.Sorted(maps.Keys(t.Most)) {
		fmt.Fprintf(w, "| %s | %.0f |\n", what, t.Most[what])
	}
	if len(t.History) > 0 {
		fmt.Fprintf(w, "\n## Around what was broken\n\n```\n%s\n```\n", strings.Join(t.History, "\n"))
	}
}

// faultTable has how often each kind of fault ran, and the longest time until all had recovered.
func (t *story) faultTable(w io.Writer) {
	fmt.Fprintf(w, "\n## Faults\n\n| kind | times | lasted, s | recovered within, s |\n| --- | --- | --- | --- |\n")
	byKind := map[string][]band{}
	for _, b := range t.Faults {
		byKind[b.Kind] = append(byKind[b.Kind], b)
	}
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		lasted, recovered := 0.0, 0.0
		for _, b := range byKind[kind] {
			lasted += b.End - b.Begin
			recovered = max(recovered, b.Recovered-b.End)
		}
		fmt.Fprintf(w, "| %s | %d | %.1f | %.1f |\n", kind, len(byKind[kind]), lasted, recovered)
	}
}
