// SPDX-License-Identifier: Apache-2.0

package serving

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

// LookEvery is how often, at the most, mounted files are looked at again.
const LookEvery = time.Second

// Mounted is a value made from files that may change, such as those of a mounted Secret. It is looked at when it is
// asked for. What can no longer be read, or used, leaves the value as it was.
type Mounted[T any] struct {
	Files []string
	Parse func(contents [][]byte) (T, error) // its errors quote nothing of the contents
	Now   func() time.Time
	Log   *slog.Logger
	MayGo bool // a file that is gone counts as an empty one

	mu       sync.Mutex
	value    T
	contents [][]byte // that were tried last
	looked   time.Time
	said     string // what was wrong, as it was logged
}

// Start reads the files for the first time.
func (m *Mounted[T]) Start() error {
	contents, err := m.read()
	if err != nil {
		return err
	}
	m.contents, m.looked = contents, m.Now()
	if m.value, err = m.Parse(contents); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(m.Files, ", "), err)
	}
	return nil
}

func (m *Mounted[T]) Get() T {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.Now()
	if since := now.Sub(m.looked); since >= 0 && since < LookEvery {
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
	value, err := m.Parse(contents)
	if err != nil {
		m.complain(err)
		return m.value
	}
	m.value, m.said = value, ""
	m.Log.Info("Reloaded changed files", "files", m.Files)
	return m.value
}

// complain logs what is wrong, once for as long as it stays the same.
func (m *Mounted[T]) complain(err error) {
	if m.said != err.Error() {
		m.said = err.Error()
		m.Log.Error("Cannot reload changed files; the previous contents stay in use", "files", m.Files, "error", m.said)
	}
}

func (m *Mounted[T]) read() ([][]byte, error) {
	contents := make([][]byte, 0, len(m.Files))
	for _, file := range m.Files {
		content, err := os.ReadFile(file) //nolint:gosec // The path is the operator's own setting.
		if m.MayGo && errors.Is(err, fs.ErrNotExist) {
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
