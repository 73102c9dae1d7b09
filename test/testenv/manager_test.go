// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"slices"
	"strings"
	"testing"
)

func TestManagerErrorIncludesExitStatusAndLog(t *testing.T) {
	plane := Cluster(t)
	// The shell rejects the manager's flags.
	m, err := plane.StartManager(ManagerOptions{Program: "/bin/sh", Rights: plane.Config()})
	if err != nil {
		t.Fatal(err)
	}
	err = m.Ready(t.Context())
	if err == nil || !strings.Contains(err.Error(), "ended by itself: exit status") || !strings.Contains(err.Error(), "ption") {
		t.Errorf("got the error %v, want the exit status and the option that the shell rejects", err)
	}
	if m.Running() || m.ExitCode() <= 0 {
		t.Errorf("running: %t, exit code %d; want false and an exit code above 0", m.Running(), m.ExitCode())
	}
}

func TestManagerGetsNoSettingsOfTheDeveloper(t *testing.T) {
	got := withoutSettings([]string{"PATH=/bin", "SHARDINGUSER_BCRYPT_COST=12", "USER_DATABASE_DSN=postgres://", "HOME=/"})
	if want := []string{"PATH=/bin", "HOME=/"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
