// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// terminal asks the user; it is nil where there is none. Ctrl-C ends the context.
type terminal interface {
	// hidden asks for a line that is not shown while it is typed.
	hidden(ctx context.Context, prompt string) ([]byte, error)

	// confirms asks a question whose default is no.
	confirms(ctx context.Context, question string) (bool, error)
}

var errNobodyThere = errors.New("there is no terminal")

// ttyOf is the terminal that the input comes from, which is asked by the output.
func ttyOf(input io.Reader, out *stream) terminal {
	in, ok := input.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil
	}
	return &tty{in: in, out: out}
}

type tty struct {
	in  *os.File
	out *stream
}

func (t *tty) hidden(ctx context.Context, prompt string) ([]byte, error) {
	t.out.ask("%s", prompt)
	line, err := t.unlessEnded(ctx, func() ([]byte, error) { return term.ReadPassword(int(t.in.Fd())) })
	t.out.say("") // the user's own was not shown
	return line, err
}

func (t *tty) confirms(ctx context.Context, question string) (bool, error) {
	t.out.ask("%s [y/N] ", question)
	line, err := t.unlessEnded(ctx, t.line)
	answer := strings.ToLower(strings.TrimSpace(string(line)))
	return answer == "y" || answer == "yes", err
}

// line reads up to the end of a line, and no byte of the next.
func (t *tty) line() (line []byte, err error) {
	for one := make([]byte, 1); ; {
		switch n, err := t.in.Read(one); {
		case errors.Is(err, io.EOF), n == 1 && one[0] == '\n':
			return line, nil
		case err != nil:
			return nil, err
		}
		line = append(line, one[0])
	}
}

// unlessEnded reads until there is something, or ctx ends. The terminal is then as it was, and shows again what is typed.
func (t *tty) unlessEnded(ctx context.Context, read func() ([]byte, error)) ([]byte, error) {
	before, err := term.GetState(int(t.in.Fd()))
	if err != nil {
		return nil, err
	}
	line, err := unlessEnded(ctx, read)
	if ctx.Err() != nil {
		err = errors.Join(err, term.Restore(int(t.in.Fd()), before))
	}
	return line, err
}

// unlessEnded reads until there is something, or ctx ends: a read itself cannot be broken off.
func unlessEnded(ctx context.Context, read func() ([]byte, error)) ([]byte, error) {
	type answer struct {
		line []byte
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		line, err := read()
		answered <- answer{line, err}
	}()
	select {
	case a := <-answered:
		return a.line, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
