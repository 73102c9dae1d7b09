// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// terminal is whom one can ask; nil where nobody sits there.
type terminal interface {
	// hidden asks for a line that is not shown while it is typed.
	hidden(prompt string) ([]byte, error)

	// confirms asks a question whose default is no.
	confirms(question string) (bool, error)
}

var errNobodyThere = errors.New("there is no terminal to ask at")

// ttyOf is the terminal of these streams.
func ttyOf(streams genericiooptions.IOStreams) terminal {
	in, ok := streams.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil
	}
	return &tty{in: in, out: streams.ErrOut}
}

type tty struct {
	in  *os.File
	out io.Writer
}

func (t *tty) hidden(prompt string) ([]byte, error) {
	fmt.Fprint(t.out, prompt)
	line, err := term.ReadPassword(int(t.in.Fd()))
	fmt.Fprintln(t.out) // the user's own was not shown
	return line, err
}

func (t *tty) confirms(question string) (bool, error) {
	fmt.Fprint(t.out, question+" [y/N] ")
	line, err := bufio.NewReader(t.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes", nil
}
