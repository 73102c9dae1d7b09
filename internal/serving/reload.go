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

// ReloadInterval is how often files are read at most.
const ReloadInterval = time.Second

// Reloaded is a value that is parsed from files and parsed again when they change, such as those of a mounted Secret.
// Get reads the files at most once a ReloadInterval. If they cannot be read or parsed, the value stays. It needs no
// goroutine and no file watch, so it works on every file system, follows swapped symbolic links, and does not depend on
// the node's limit of inotify instances.
type Reloaded[T any] struct {
	Files    []string
	Parse    func(contents [][]byte) (T, error) // its errors must not quote the contents
	Now      func() time.Time
	Log      *slog.Logger
	Optional bool // a missing file counts as empty

	mu       sync.Mutex
	value    T
	contents [][]byte // the last ones that were parsed
	looked   time.Time
	reported string // the last logged problem
}

// Load reads the files for the first time. It fails if they cannot be read or parsed.
func (m *Reloaded[T]) Load() error {
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

// Get returns the value from the current files, or the last valid one.
func (m *Reloaded[T]) Get() T {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.Now()
	if since := now.Sub(m.looked); since >= 0 && since < ReloadInterval {
		return m.value
	}
	m.looked = now
	contents, err := m.read()
	switch {
	case err != nil:
		m.report(err)
		return m.value
	case same(contents, m.contents):
		return m.value
	}
	m.contents = contents
	value, err := m.Parse(contents)
	if err != nil {
		m.report(err)
		return m.value
	}
	m.value, m.reported = value, ""
	m.Log.Info("Reloaded changed files", "files", m.Files)
	return m.value
}

// report logs a problem once, until it changes.
func (m *Reloaded[T]) report(err error) {
	if m.reported != err.Error() {
		m.reported = err.Error()
		m.Log.Error("Cannot reload changed files; the previous contents stay in use", "files", m.Files, "error", m.reported)
	}
}

func (m *Reloaded[T]) read() ([][]byte, error) {
	contents := make([][]byte, 0, len(m.Files))
	for _, file := range m.Files {
		content, err := os.ReadFile(file) //nolint:gosec // The path is the operator's own setting.
		if m.Optional && errors.Is(err, fs.ErrNotExist) {
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
