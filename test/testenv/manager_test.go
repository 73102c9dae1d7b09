// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"slices"
	"strings"
	"testing"
)

func TestAManagerThatEndsByItselfIsToldOfWithWhatItSaid(t *testing.T) {
	plane := Cluster(t)
	// A shell knows none of a manager's flags.
	m, err := plane.StartManager(ManagerOptions{Program: "/bin/sh", Rights: plane.Config()})
	if err != nil {
		t.Fatal(err)
	}
	err = m.Ready(t.Context())
	if err == nil || !strings.Contains(err.Error(), "ended by itself: exit status") || !strings.Contains(err.Error(), "ption") {
		t.Errorf("got the error %v, want one that tells the exit status and the option that the shell refused", err)
	}
	if m.Running() || m.ExitCode() <= 0 {
		t.Errorf("it runs: %t, with the exit code %d; want neither that nor 0", m.Running(), m.ExitCode())
	}
}

func TestAManagerGetsNoSettingsOfADeveloper(t *testing.T) {
	got := withoutSettings([]string{"PATH=/bin", "SHARDINGUSER_BCRYPT_COST=12", "USER_DATABASE_DSN=postgres://", "HOME=/"})
	if want := []string{"PATH=/bin", "HOME=/"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
