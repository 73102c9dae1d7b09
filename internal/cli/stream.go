// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"
)

// Much of what commands print was written by others: names, messages, roles, user agents, errors of the API server and of
// Postgres. A terminal that got it as it is could be made to do what its author likes, or to show something else. So the
// streams of commands are of a type that escapes, and there is no other way to the terminal.

// stream is an output of the program. It writes no control character but the end of a line and, between columns, the tab.
type stream struct{ raw io.Writer }

// newEnv returns what commands share. From here on the streams escape.
func newEnv(streams genericiooptions.IOStreams) *env {
	e := &env{In: streams.In, Out: &stream{streams.Out}, ErrOut: &stream{streams.ErrOut}, flags: genericclioptions.NewConfigFlags(true)}
	e.terminal = ttyOf(e.In, e.ErrOut)
	return e
}

// Write escapes and writes.
func (s *stream) Write(b []byte) (int, error) {
	if _, err := io.WriteString(s.raw, escaped(string(b), "\n\t", beyondASCII)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// say writes a line of ours. Each argument is escaped to stay on it, except an error, which may have lines of its own.
func (s *stream) say(format string, args ...any) {
	s.ask(format+"\n", args...)
}

// ask is say without the end of the line.
func (s *stream) ask(format string, args ...any) {
	for i, arg := range args {
		args[i] = foreign{arg}
	}
	_, _ = fmt.Fprintf(s, format, args...) // to a terminal: nobody could act on the error
}

// foreign is a value that others may have written.
type foreign struct{ value any }

// Format implements fmt.Formatter.
func (v foreign) Format(f fmt.State, verb rune) {
	keep := ""
	if _, ok := v.value.(error); ok {
		keep = "\n"
	}
	_, _ = io.WriteString(f, escaped(fmt.Sprintf(fmt.FormatString(f, verb), v.value), keep, beyondASCII))
}

// escaped returns the text with everything escaped that is not graphic: control characters of both kinds, what hides text
// or turns its direction, line separators of Unicode, and bytes that are no UTF-8. Characters to keep are left as they
// are. An escape is one of JSON and YAML, too; beyond writes those of more than 16 bits, for which they differ.
func escaped(text, keep string, beyond func(rune) string) string {
	if !hasUnsafe(text, keep) {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case isSafe(r) || strings.ContainsRune(keep, r):
			b.WriteRune(r)
		case r > 0xffff:
			b.WriteString(beyond(r))
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// isSafe returns whether a terminal shows the character, and does nothing else.
func isSafe(r rune) bool { return unicode.IsGraphic(r) }

// hasUnsafe returns whether there is something to escape.
func hasUnsafe(text, keep string) bool {
	return !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !isSafe(r) && !strings.ContainsRune(keep, r) })
}

// beyondASCII is the escape of YAML and of Go for characters of more than 16 bits, surrogates that of JSON.
func beyondASCII(r rune) string { return fmt.Sprintf(`\U%08x`, r) }

func surrogates(r rune) string {
	high, low := utf16.EncodeRune(r)
	return fmt.Sprintf(`\u%04x\u%04x`, high, low)
}

// safeJSON returns the value as JSON, in which escapes change no value.
func safeJSON(v any) (string, error) {
	text, err := json.MarshalIndent(v, "", "    ")
	return escaped(string(text), "\n", surrogates), err
}

// safeYAML returns the value as YAML. Where a character has to be escaped it looks like JSON, which is YAML in which each
// text has quotes: without them an escape would be taken for the text itself.
func safeYAML(v any) (string, error) {
	text, err := json.MarshalIndent(v, "", "    ")
	if err != nil {
		return "", err
	}
	if !hasUnsafe(string(text), "\n") { // the YAML package refuses some of them
		readable, err := yaml.JSONToYAML(text)
		if err != nil || !hasUnsafe(string(readable), "\n") {
			return string(readable), err
		}
	}
	return escaped(string(text), "\n", beyondASCII) + "\n", nil
}
