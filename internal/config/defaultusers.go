// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"slices"
	"strings"
)

const (
	// podNamespaceFile is where every pod finds the name of its namespace.
	podNamespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

	// shortestOfSharding is the length of the shortest of the sharding system's
	// default passwords, admin123.
	shortestOfSharding = 8
)

// checkDefaultUsers settles where the default users are to be, and refuses what
// nothing good would come of.
func (l *loader) checkDefaultUsers(s *Settings) {
	d := &s.DefaultUsers
	if d.TakeOver && d.Passwords != DefaultUsersGenerated {
		l.problem(l.settings[flagDefaultUsersTakeOver].origin, "accounts can only be adopted with generated passwords: "+
			"set --%s=%s, or leave --%s off", flagDefaultUsers, DefaultUsersGenerated, flagDefaultUsersTakeOver)
	}
	if !d.Enabled() {
		return
	}
	origin := l.settings[flagDefaultUsers].origin
	if d.Passwords == DefaultUsersSharding && s.PasswordMinLength > shortestOfSharding {
		l.problem(origin, "the sharding system's passwords are shorter than the %d characters of --%s: "+
			"lower it to %d, or choose %s", s.PasswordMinLength, flagPasswordMinLength, shortestOfSharding, DefaultUsersGenerated)
	}

	if d.Namespace == "" {
		d.Namespace = s.Namespace
	} else {
		origin = l.settings[flagDefaultUsersNamespace].origin
	}
	if watched := s.WatchNamespaces; len(watched) > 0 && !slices.Contains(watched, d.Namespace) {
		l.problem(origin, "the namespace %s of the default users is not watched, since --%s (%s) does not list it: "+
			"add it, or set --%s to a listed namespace", d.Namespace, flagWatchNamespaces, strings.Join(watched, ","), flagDefaultUsersNamespace)
	}
}

// ownNamespace is the manager's own namespace: that of its lease, which is the
// pod's unless another one was given, or "default" for a manager outside a
// cluster.
func ownNamespace(ofLease, podFile string) string {
	if ofLease != "" {
		return ofLease
	}
	content, err := os.ReadFile(podFile) //nolint:gosec // a constant of Kubernetes
	if name := strings.TrimSpace(string(content)); err == nil && namespaceName.MatchString(name) {
		return name
	}
	return "default"
}
