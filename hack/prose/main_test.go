// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"
)

func TestFound(t *testing.T) {
	for text, want := range map[string]int{
		"Log-ins are refused.":                          1,
		"A login is refused; log in again.":             0,
		"The status tells of it, and is mended anew.":   3,
		"Whoever asks is answered.":                     1,
		"It works. Who asks is answered.":               1,
		"It works. What is left goes.":                  1,
		"Who is locked? The list shows it.":             0,
		"The list shows who is locked.":                 0,
		"| What | Why |":                                1,
		"The process, whom nobody asked, ends.":         1,
		"A user who is locked can be unlocked.":         0,
		"The manager who holds the lease leads.":        1,
		"The database is away.":                         1,
		"The lock ran out, and his account is put back": 3,
		"whatever there is here":                        0,
	} {
		if got := found(text); len(got) != want {
			t.Errorf("of %q it finds %q, want %d", text, got, want)
		}
	}
}

func TestOfPage(t *testing.T) {
	const source = "# Who owns what\n\nA line\nand the next, see [the page](log-in.md).\n\n```\nlog-in\n```\n- one `log-in`\n- two \"log-in\"\n"
	var got []string
	for _, text := range ofPage(source) {
		got = append(got, text.text)
	}
	if want := []string{"A line and the next, see [the page].", "- one `", "- two `"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOfGo(t *testing.T) {
	const source = `package p

import "a path"

// F is a comment.
func F(log logger) {
	log.Info("a log line", "key", 1)
	prometheus.Opts{Help: "the " + "help text"}
	query("SELECT a log-in FROM users")
	say("another text")
}
`
	for k, want := range map[kind]string{
		faces:   "a log line|the help text",
		strung:  "a log line|the help text|another text",
		spelled: "F is a comment.|a log line|the help text|another text",
	} {
		texts, err := ofGo("p.go", source, k)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, text := range texts {
			got = append(got, text.text)
		}
		if strings.Join(got, "|") != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestKindOf(t *testing.T) {
	for name, want := range map[string]kind{
		"README.md":                       page,
		"docs/login.md":                   page,
		"docs/adr/0001-a.md":              page,
		"api/v1alpha1/conditions.go":      spelled,
		"api/v1alpha1/zz_generated.go":    skipped,
		"internal/config/flags.go":        spelled,
		"internal/login/service.go":       spelled,
		"internal/configuration/flags.go": strung,
		"internal/user/plan.go":           spelled,
		"test/new/program.go":             faces,
		"internal/user/plan_test.go":      spelled,
		"test/new/program_test.go":        skipped,
		"config/prometheus/rules.yaml":    lines,
		"config/krew/kubectl_complete":    skipped,
		"internal/login/openapi.yaml":     lines,
	} {
		if got := kindOf(name); got != want {
			t.Errorf("%s is checked as %d, want %d", name, got, want)
		}
	}
}
