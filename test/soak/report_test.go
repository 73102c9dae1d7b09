// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAReportHasTheEventsAndTheBrokenPromise(t *testing.T) {
	t.Parallel()
	story := newStory(settings{seed: 42, duration: time.Minute, users: 60})
	story.fault(band{Kind: databaseStopped, Begin: 1, End: 4, Recovered: 6.5})
	story.fault(band{Kind: databaseStopped, Begin: 10, End: 11, Recovered: 12})
	for _, status := range []int{http.StatusOK, http.StatusUnauthorized, http.StatusUnauthorized, http.StatusServiceUnavailable, 0} {
		story.answer(status)
	}
	story.sample("a", figures{residentMemory: 64 << 20, goroutines: 90}, 3)
	story.violation(violation{what: "check 6 for one lock", user: "vera", at: time.Now()})
	folder := t.TempDir()
	path, err := story.write(folder, errors.New("a promise is broken"))
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"seed 42", "vera: check 6 for one lock", "| Postgres stopped | 2 | 4.0 | 2.5 |", "| refused (401) | 2 |",
		"| not decided (503, 429) | 1 |", "| without an answer | 1 |", "| memory of a replica, MiB | 64 |",
	} {
		if !strings.Contains(string(content), want) {
			t.Errorf("the report lacks %q:\n%s", want, content)
		}
	}
	content, err = os.ReadFile(filepath.Join(folder, "latest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Seed   uint64
		Faults []band
	}
	if err := json.Unmarshal(content, &read); err != nil || read.Seed != 42 || len(read.Faults) != 2 {
		t.Errorf("the JSON reads as %+v: %v", read, err)
	}
}

func TestLeakedSecretsAreFound(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"user":"vera"}`:               "",
		"password " + newPassword():     "a password",
		"postgres://role:dsn-secret@db": "the database's password",
		"$2a$10$abcdefghijk":            "a password hash",
	} {
		if got := secretIn(text, []string{"dsn-secret"}); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
