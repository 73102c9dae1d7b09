// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// A screen prints the story. The lines of a step are indented.
type screen struct {
	w      io.Writer
	colour bool
	shown  bool // output was printed since the last result
}

const indent = "   "

// newScreen returns a screen on the standard output, in colour on a terminal unless NO_COLOR is set (no-color.org).
func newScreen() *screen {
	info, err := os.Stdout.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	return &screen{w: os.Stdout, colour: terminal && os.Getenv("NO_COLOR") == ""}
}

// The codes of select graphic rendition.
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

func (s *screen) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// say prints a line at the margin; without arguments, an empty one.
func (s *screen) say(format string, args ...any) {
	fmt.Fprintf(s.w, format+"\n", args...)
}

func (s *screen) heading(number, of int, title, why string) {
	s.say("\n%s", s.paint(bold, fmt.Sprintf("%d/%d  %s", number, of, title)))
	s.block("", why)
}

// command shows a command line.
func (s *screen) command(line string) {
	s.say("")
	first, rest, more := strings.Cut(line, "\n")
	s.say("%s%s %s", indent, s.paint(dim, "$"), s.paint(cyan, first))
	if more {
		s.block(cyan, "  "+strings.ReplaceAll(rest, "\n", "\n  "))
	}
}

// output shows the output of a command.
func (s *screen) output(text string) {
	s.block("", text)
	s.shown = true
}

// apart prints an empty line between output and a result.
func (s *screen) apart() {
	if s.shown {
		s.say("")
	}
	s.shown = false
}

func (s *screen) good(format string, args ...any) {
	s.apart()
	s.say("%s%s %s", indent, s.paint(green, "✓"), fmt.Sprintf(format, args...))
}

func (s *screen) bad(format string, args ...any) {
	s.apart()
	first, rest, _ := strings.Cut(fmt.Sprintf(format, args...), "\n")
	s.say("%s%s %s", indent, s.paint(red, "✗"), first)
	s.block("", rest)
}

// block shows lines, indented.
func (s *screen) block(code, text string) {
	text = strings.TrimRight(text, "\n")
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRight(line, " ")
		if code != "" {
			line = s.paint(code, line)
		}
		s.say("%s%s", indent, line)
	}
}

// words returns a command line with its arguments quoted for a shell.
func words(args ...string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = arg
		if arg == "" || strings.ContainsAny(arg, " \t\n'\"`$&|;<>()*?[]{}#~\\!") {
			quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}
