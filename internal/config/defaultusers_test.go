// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWhereTheDefaultUsersAre(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"nowhere while they are off":               {[]string{"--leader-election-namespace=system"}, ""},
		"where the lease is":                       {[]string{"--default-users=generated", "--leader-election-namespace=system"}, "system"},
		"where the lease is, if that is watched":   {[]string{"--default-users=sharding", "--leader-election-namespace=b", "--watch-namespaces=a,b"}, "b"},
		"where they were asked for":                {[]string{"--default-users=sharding", "--leader-election-namespace=system", "--default-users-namespace=a"}, "a"},
		"where they were asked for, among watched": {[]string{"--default-users=generated", "--default-users-namespace=a", "--watch-namespaces=a,b"}, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := world{args: tt.args}.load(t)
			if err != nil || got.DefaultUsers.Namespace != tt.want {
				t.Errorf("Namespace = %q, %v, want %q", got.DefaultUsers.Namespace, err, tt.want)
			}
		})
	}
}

func TestTheManagersOwnNamespace(t *testing.T) {
	pod := filepath.Join(t.TempDir(), "namespace")
	if err := os.WriteFile(pod, []byte("shardinguser-system\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ ofLease, podFile, want string }{
		"is that of the lease":                    {"elsewhere", pod, "elsewhere"},
		"is the pod's where the lease has no own": {"", pod, "shardinguser-system"},
		"is default outside a cluster":            {"", pod + "-none", "default"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ownNamespace(tt.ofLease, tt.podFile); got != tt.want {
				t.Errorf("ownNamespace = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTheShardingSystemsPasswordsFitTheDefaultLength(t *testing.T) {
	if s := defaults(); s.PasswordMinLength > shortestOfSharding {
		t.Errorf("by default, passwords have at least %d characters", s.PasswordMinLength)
	}
}
