// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

// A story is what happened in a run, for the report and the picture. Its fields are the JSON that hack/benchplot/soak
// reads. Times are seconds since the beginning.
type story struct {
	set     settings
	secrets []string

	mu         sync.Mutex
	goroutines float64 // the most at the first quiet point

	Version string    `json:"version"`
	Go      string    `json:"go"`
	Cores   int       `json:"cores"`
	Begun   time.Time `json:"begun"`
	Seed    uint64    `json:"seed"`
	Load    float64   `json:"load"` // when the load began
	Seconds float64   `json:"seconds"`

	Faults  []band             `json:"faults"`
	Quiet   []band             `json:"quiet"`
	Answers []answers          `json:"answers"` // by second
	Samples []sample           `json:"samples"`
	Counts  map[string]int     `json:"counts"`
	Record  map[string]int     `json:"record"` // attempts by outcome
	Most    map[string]float64 `json:"most"`

	Violations []string  `json:"violations"`
	Broken     []float64 `json:"broken"`            // when
	History    []string  `json:"history,omitempty"` // around the first of them
	Notes      []string  `json:"notes,omitempty"`
}

// A band is a fault in the picture, from its begin to its end and until all had recovered.
type band struct {
	Kind      string  `json:"kind"`
	Begin     float64 `json:"begin"`
	End       float64 `json:"end"`
	Recovered float64 `json:"recovered"`
}

// answers counts the responses to logins in one second.
type answers struct {
	Passed  int `json:"passed"`
	Refused int `json:"refused"`
	Away    int `json:"away"` // 503, 429
	Lost    int `json:"lost"` // without an answer
}

// A sample is figures of one replica at one moment.
type sample struct {
	At      float64 `json:"at"`
	Replica string  `json:"replica"`
	Memory  float64 `json:"memory"` // MiB
	Writes  float64 `json:"writes"` // of statuses, since the last sample
}

func newStory(set settings) *story {
	version := "unknown"
	if described, err := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output(); err == nil { //nolint:noctx // short
		version = strings.TrimSpace(string(described))
	}
	return &story{
		set: set, Version: version, Go: runtime.Version(), Cores: runtime.GOMAXPROCS(0), Begun: time.Now(), Seed: set.seed,
		Counts: map[string]int{}, Most: map[string]float64{},
	}
}

// name returns the name of the run's files.
func (t *story) name() string { return t.Begun.UTC().Format("20060102-150405") }

// say prints progress.
func (t *story) say(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "%7.1f s  %s\n", time.Since(t.Begun).Seconds(), fmt.Sprintf(format, arguments...))
}

func (s *stage) since(at time.Time) float64 { return at.Sub(s.story.Begun).Seconds() }

func (t *story) count(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Counts[what]++
}

func (t *story) fault(b band) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Faults = append(t.Faults, b)
}

func (t *story) quiet(s span) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Quiet = append(t.Quiet, band{Begin: s.From.Sub(t.Begun).Seconds(), End: s.To.Sub(t.Begun).Seconds()})
}

func (t *story) violation(v violation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	who := ""
	if v.user != "" {
		who = v.user + ": "
	}
	t.Violations, t.Broken = append(t.Violations, clock(v.at)+" "+who+v.what), append(t.Broken, v.at.Sub(t.Begun).Seconds())
	t.say("BROKEN: %s%s", who, v.what)
}

func (t *story) note(format string, arguments ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Notes = append(t.Notes, fmt.Sprintf(format, arguments...))
}

// answer counts a response in its second.
func (t *story) answer(status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	second := int(time.Since(t.Begun).Seconds())
	for len(t.Answers) <= second {
		t.Answers = append(t.Answers, answers{})
	}
	switch a := &t.Answers[second]; status {
	case http.StatusOK:
		a.Passed++
	case http.StatusUnauthorized:
		a.Refused++
	case 0:
		a.Lost++
	default:
		a.Away++
	}
}

func (t *story) sample(replica string, now figures, writes float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Samples = append(t.Samples, sample{
		At: time.Since(t.Begun).Seconds(), Replica: replica, Memory: now[residentMemory] / (1 << 20), Writes: writes,
	})
	t.most("memory of a replica, MiB", now[residentMemory]/(1<<20))
	t.most("goroutines of a replica", now[goroutines])
	t.most("connections of a replica's pool", now[poolConnections])
}

// most is called with the lock held.
func (t *story) most(what string, value float64) { t.Most[what] = math.Max(t.Most[what], value) }

func (t *story) mostSessions(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.most("sessions in the database at a quiet point", float64(n))
}

// baseline returns the maximum number of goroutines of a replica before the load began, recorded at the first quiet
// point.
func (t *story) baseline(now float64) float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Load == 0 {
		t.goroutines = math.Max(t.goroutines, now)
	}
	return t.goroutines
}
