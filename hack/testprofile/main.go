// SPDX-License-Identifier: Apache-2.0

// Command testprofile reports where the time of a test run goes. It reads the output of `go test -json` from its standard
// input, and the files of `go test -debug-actiongraph` that its arguments name. `make test-profile` runs it.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	tests := flag.Int("tests", 50, "number of the slowest `tests` to list")
	flag.Parse()
	failed, err := report(os.Stdout, os.Stdin, *tests, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "testprofile:", err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

// An event is a line of `go test -json`. `go doc test2json` describes it.
type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64 // seconds
	Output  string
}

// An entry is a line of a report: a name and its duration.
type entry struct {
	name    string
	elapsed time.Duration
}

// report writes the slowest packages and tests, and the time of each kind of the go command's actions. It returns whether a
// test failed; the output of a failed test is part of the report.
func report(w io.Writer, events io.Reader, tests int, graphs []string) (failed bool, err error) {
	var packages, slowest []entry
	output := map[string]*strings.Builder{}
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(w, lines.Text()) // output of the go command, such as a build error
			continue
		}
		key := e.Package + "." + e.Test
		took := entry{strings.TrimSuffix(key, "."), time.Duration(e.Elapsed * float64(time.Second))}
		switch e.Action {
		case "output":
			if output[key] == nil {
				output[key] = &strings.Builder{}
			}
			output[key].WriteString(e.Output)
			continue
		case "build-output":
			fmt.Fprint(w, e.Output)
		case "build-fail":
			failed = true
		case "fail":
			failed = true
			if output[key] != nil {
				fmt.Fprint(w, output[key])
			}
			fallthrough
		case "pass", "skip":
			delete(output, key)
			if e.Test == "" {
				packages = append(packages, took)
			} else if !strings.Contains(e.Test, "/") {
				slowest = append(slowest, took)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return failed, fmt.Errorf("read the events of go test: %w", err)
	}
	actions, err := readActions(graphs)
	if err != nil {
		return failed, err
	}
	table(w, "Packages", packages, len(packages))
	table(w, fmt.Sprintf("The %d slowest of %d tests", min(tests, len(slowest)), len(slowest)), slowest, tests)
	table(w, "Actions of the go command", actions, len(actions))
	return failed, nil
}

// An action is a node of the go command's action graph: something that it built, linked or ran.
type action struct {
	Mode                string
	TimeStart, TimeDone time.Time
}

// readActions returns the total time of each kind of action.
func readActions(files []string) ([]entry, error) {
	sums := map[string]time.Duration{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the graph of actions: %w", err)
		}
		var graph []action
		if err := json.Unmarshal(content, &graph); err != nil {
			return nil, fmt.Errorf("read the graph of actions in %s: %w", file, err)
		}
		for _, a := range graph {
			sums[a.Mode] += a.TimeDone.Sub(a.TimeStart)
		}
	}
	var entries []entry
	for _, mode := range slices.Sorted(maps.Keys(sums)) {
		entries = append(entries, entry{mode, sums[mode]})
	}
	return entries, nil
}

// table writes the longest entries under a title with the total of all entries.
func table(w io.Writer, title string, entries []entry, longest int) {
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(b.elapsed, a.elapsed) })
	var sum time.Duration
	for _, e := range entries {
		sum += e.elapsed
	}
	fmt.Fprintf(w, "\n%s (%.0f s in all)\n\n", title, sum.Seconds())
	for _, e := range entries[:min(longest, len(entries))] {
		fmt.Fprintf(w, "%8.1f s  %s\n", e.elapsed.Seconds(), e.name)
	}
}
