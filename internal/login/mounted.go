// SPDX-License-Identifier: Apache-2.0

package login

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// lookEvery is how often, at the most, mounted files are looked at again.
const lookEvery = time.Second

// mounted is a value made from files that may change, such as those of a mounted Secret. It is looked at when it is
// asked for. What can no longer be read, or used, leaves the value as it was.
type mounted[T any] struct {
	files []string
	parse func(contents [][]byte) (T, error) // its errors quote nothing of the contents
	now   func() time.Time
	log   *slog.Logger
	mayGo bool // a file that is gone counts as an empty one

	mu       sync.Mutex
	value    T
	contents [][]byte // that were tried last
	looked   time.Time
	said     string // what was wrong, as it was logged
}

// start reads the files for the first time.
func (m *mounted[T]) start() error {
	contents, err := m.read()
	if err != nil {
		return err
	}
	m.contents, m.looked = contents, m.now()
	if m.value, err = m.parse(contents); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(m.files, ", "), err)
	}
	return nil
}

func (m *mounted[T]) get() T {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if since := now.Sub(m.looked); since >= 0 && since < lookEvery {
		return m.value
	}
	m.looked = now
	contents, err := m.read()
	switch {
	case err != nil:
		m.complain(err)
		return m.value
	case same(contents, m.contents):
		return m.value
	}
	m.contents = contents
	value, err := m.parse(contents)
	if err != nil {
		m.complain(err)
		return m.value
	}
	m.value, m.said = value, ""
	m.log.Info("Reloaded changed files", "files", m.files)
	return m.value
}

// complain logs what is wrong, once for as long as it stays the same.
func (m *mounted[T]) complain(err error) {
	if m.said != err.Error() {
		m.said = err.Error()
		m.log.Error("Cannot reload changed files; the previous contents stay in use", "files", m.files, "error", m.said)
	}
}

func (m *mounted[T]) read() ([][]byte, error) {
	contents := make([][]byte, 0, len(m.files))
	for _, file := range m.files {
		content, err := os.ReadFile(file) //nolint:gosec // The path is the operator's own setting.
		if m.mayGo && errors.Is(err, fs.ErrNotExist) {
			content, err = nil, nil
		}
		if err != nil {
			var pathErr *fs.PathError
			if errors.As(err, &pathErr) {
				err = pathErr.Err
			}
			return nil, fmt.Errorf("cannot read %s: %w", file, err)
		}
		contents = append(contents, content)
	}
	return contents, nil
}

func same(a, b [][]byte) bool {
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}
