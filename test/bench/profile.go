// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Profiles say where a figure that misses its aim comes from. They cost a little themselves, so they are taken on request
// only.

// profileAt is an argument that makes the manager serve profiles, and where; nothing where none are wanted.
func (s *stage) profileAt() ([]string, error) {
	if s.size.profile == 0 {
		return nil, nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it neither blocks nor lasts
	if err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	s.profiles = listener.Addr().String()
	return []string{"--pprof-bind-address=" + s.profiles}, listener.Close()
}

// profile takes a CPU profile of the manager, from now on and for as long as was asked for. The row goes on meanwhile.
func (s *stage) profile(ctx context.Context) {
	if s.size.profile == 0 || s.manager == nil {
		return
	}
	manager, at, row := s.manager, s.profiles, s.row
	s.profiling.Go(func() {
		query := fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(s.size.profile.Seconds()))
		for manager.Running() && ctx.Err() == nil {
			if err := s.fetch(ctx, "http://"+at+query, row+".cpu.pprof"); err == nil {
				return
			}
			if pause(ctx, poll) != nil { // it is not up yet
				return
			}
		}
	})
}

// heap takes a profile of what the manager has in memory.
func (s *stage) heap(ctx context.Context) error {
	if s.size.profile == 0 {
		return nil
	}
	return s.fetch(ctx, "http://"+s.profiles+"/debug/pprof/heap", s.row+".heap.pprof")
}

// fetch writes what comes from a URL into a file.
func (s *stage) fetch(ctx context.Context, url, name string) error {
	ctx, cancel := context.WithTimeout(ctx, s.size.profile+time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("take a profile: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("take a profile: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", response.StatusCode, strings.TrimSpace(string(content)))
	}
	if err != nil {
		return fmt.Errorf("take a profile: %w", err)
	}
	if err := os.MkdirAll(s.size.folder, 0o755); err != nil {
		return fmt.Errorf("keep a profile: %w", err)
	}
	if err := os.WriteFile(filepath.Join(s.size.folder, name), content, 0o644); err != nil {
		return fmt.Errorf("keep a profile: %w", err)
	}
	return nil
}
