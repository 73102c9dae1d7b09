// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Report is the result of a run, also as JSON.
type Report struct {
	At      time.Time `json:"at"`
	Version string    `json:"version"` // of the product, as git describes it
	Go      string    `json:"go"`
	Cores   int       `json:"cores"`
	Hash    float64   `json:"hashMilliseconds"` // one bcrypt at the beginning, to compare machines
	Repeat  int       `json:"repeat"`
	Seconds float64   `json:"seconds"` // of the whole run; 0 after a failure
	Results []Result  `json:"results"`
}

func newReport(ctx context.Context, size sizes, at time.Time) *Report {
	version := "unknown"
	if described, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output(); err == nil {
		version = strings.TrimSpace(string(described))
	}
	r := &Report{At: at.UTC(), Version: version, Go: runtime.Version(), Cores: runtime.GOMAXPROCS(0), Repeat: size.repeat}
	if one, err := oneHash(); err == nil {
		r.Hash = milliseconds(one)
	}
	return r
}

// broken returns every wrong counter.
func (r *Report) broken() (all []string) {
	for _, result := range r.Results {
		for _, sentence := range result.Broken {
			all = append(all, result.What+": "+sentence)
		}
	}
	return all
}

// write prints the table and writes it with the JSON into the folder, by the time of the run and as the latest.
func (r *Report) write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	var table strings.Builder
	r.table(&table)
	fmt.Fprint(os.Stdout, table.String())
	for _, name := range []string{r.At.Format("20060102-150405"), "latest"} {
		for suffix, text := range map[string][]byte{".json": append(content, '\n'), ".md": []byte(table.String())} {
			if err := os.WriteFile(filepath.Join(folder, name+suffix), text, 0o644); err != nil {
				return fmt.Errorf("write the results: %w", err)
			}
		}
	}
	return nil
}

// table writes the results in the format of docs/performance.md: one figure a cell.
func (r *Report) table(w io.Writer) {
	fmt.Fprintf(w, "%s, %s, %d cores, one bcrypt %.1f ms, %s; %.0f minutes in all.\n\n",
		r.Version, r.Go, r.Cores, r.Hash, r.At.Format(time.DateOnly), r.Seconds/60)
	fmt.Fprintln(w, "| what | measured | limit | what the limit is | ratio | aim | result |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- | --- |")
	for _, result := range r.Results {
		fmt.Fprintln(w, result.markdown())
	}
	r.counters(w, "", hashes, comparisons, recognized, reconciles, statusWrites, apiStatusPatches, apiResourcePatches, apiEvents,
		apiSecretReads, sqlStatements, sqlSelects)
	r.counters(w, " s", cpuManager, cpuAPIServer, cpuEtcd, cpuPostgres)
	fmt.Fprint(w, "\n| what | other figure | value |\n| --- | --- | --- |\n")
	for _, result := range r.Results {
		for _, name := range slices.Sorted(maps.Keys(result.Beside)) {
			fmt.Fprintf(w, "| %s | %s | %s |\n", result.What, name, figure(result.Beside[name]))
		}
	}
	fmt.Fprintln(w)
	for _, sentence := range r.broken() {
		fmt.Fprintf(w, "WRONG: %s\n", sentence)
	}
}

// counters writes a table of the counters that are not zero in all results.
func (r *Report) counters(w io.Writer, unit string, names ...string) {
	names = slices.DeleteFunc(names, func(name string) bool {
		return !slices.ContainsFunc(r.Results, func(result Result) bool { return result.Counters[name] != 0 })
	})
	fmt.Fprintf(w, "\n| what | %s |\n|%s\n", strings.Join(names, " | "), strings.Repeat(" --- |", len(names)+1))
	for _, result := range r.Results {
		cells := []string{result.What}
		for _, name := range names {
			cell := ""
			if value := result.Counters[name]; value != 0 {
				cell = figure(value) + unit
			}
			cells = append(cells, cell)
		}
		if strings.Join(cells[1:], "") != "" {
			fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
		}
	}
}

func (r *Result) markdown() string {
	limit, ratio := "", ""
	if r.Limit > 0 {
		limit, ratio = figure(r.Limit)+" "+r.Unit, figure(r.Ratio)
	}
	return "| " + strings.Join([]string{
		r.What, figure(r.Value) + " " + r.Unit, limit, r.LimitOf, ratio, r.aim(), r.verdict(),
	}, " | ") + " |"
}

// line returns the result in short.
func (r *Result) line() string {
	text := fmt.Sprintf("%s: %s %s", r.What, figure(r.Value), r.Unit)
	if r.Limit > 0 {
		text += fmt.Sprintf(", %s of %s", figure(r.Ratio), r.LimitOf)
	}
	if r.Aim != nil {
		text += fmt.Sprintf(", aim %s: %s", r.aim(), r.verdict())
	}
	for _, sentence := range r.Broken {
		text += "; WRONG: " + sentence
	}
	return text
}

func (r *Result) aim() string {
	if r.Aim == nil {
		return ""
	}
	text := "≤ "
	if r.Aim.Least {
		text = "≥ "
	}
	text += figure(r.Aim.At)
	if r.Aim.Value {
		text += " " + r.Unit
	}
	return text
}

func (r *Result) verdict() string {
	switch {
	case r.Aim == nil:
		return ""
	case r.reached():
		return "reached"
	default:
		return "missed"
	}
}

// figure formats a number with its significant digits.
func figure(v float64) string {
	switch {
	case v == float64(int64(v)) || v >= 1000:
		return thousands(int64(v + 0.5))
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
