// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

const platformAndTeam = `apiVersion: sharding.io/v1alpha1
kind: ShardingUserPolicy
metadata:
  name: platform
spec:
  namespaceSelector:
    matchLabels: {kubernetes.io/metadata.name: shardinguser-system}
  usernames: ["*"]
  roles: ["*"]
---
apiVersion: sharding.io/v1alpha1
kind: ShardingUserPolicy
metadata:
  name: team-b
spec:
  namespaceSelector:
    matchLabels: {kubernetes.io/metadata.name: team-b}
  usernames: ["team-b.*"]
  roles: [viewer]
`

// hasReason returns a function that reports whether the condition Ready has this reason.
func hasReason(reason string) func(v1alpha1.ShardingUserStatus) bool {
	return func(status v1alpha1.ShardingUserStatus) bool {
		c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
		return c != nil && c.Reason == reason
	}
}

func permitted(ctx context.Context, s *story) error {
	if err := s.apply(ctx, platformAndTeam); err != nil {
		return err
	}
	if err := s.apply(ctx, `apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata:
  name: team-b.bob
  namespace: team-b
spec:
  roles: [viewer, admin]
`); err != nil {
		return err
	}
	if err := s.user(ctx, "team-b", "team-b.bob", "is not permitted", hasReason(v1alpha1.ReasonNotPermitted)); err != nil {
		return err
	}
	if err := s.kubectl(ctx, "get", "shardinguser", "team-b.bob", "-n", "team-b", "-o", messageOf(v1alpha1.ConditionReady)); err != nil {
		return err
	}
	if _, err := s.db.row(ctx, "team-b.bob"); !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("expected no row of team-b.bob; reading it returned %w", err)
	}
	if err := s.kubectl(ctx, "patch", "shardinguser", "team-b.bob", "-n", "team-b", "--type=merge", `--patch={"spec":{"roles":["viewer"]}}`); err != nil {
		return err
	}
	if err := s.user(ctx, "team-b", "team-b.bob", "is permitted by team-b", func(status v1alpha1.ShardingUserStatus) bool {
		return hasReason(v1alpha1.ReasonSynced)(status) && status.PermittedBy == "team-b"
	}); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"get", "shardinguserpolicies"},
		{"delete", "shardinguser", "team-b.bob", "-n", "team-b", "--timeout=30s"},
		{"delete", "shardinguserpolicies", "platform", "team-b"}, // so that they do not restrict what you try by hand
	} {
		if err := s.kubectl(ctx, args...); err != nil {
			return err
		}
	}
	s.good("it was permitted as a viewer and rejected as an admin")
	return nil
}

func lastAdministrator(ctx context.Context, s *story) error {
	before, err := s.db.row(ctx, "admin")
	if err != nil {
		return err
	}
	demote := func(role string) error {
		return s.kubectl(ctx, "patch", "shardinguser", "admin", "--type=merge", fmt.Sprintf(`--patch={"spec":{"roles":[%q]}}`, role))
	}
	if err := demote("viewer"); err != nil {
		return err
	}
	if err := s.user(ctx, systemNamespace, "admin", "is kept", hasReason(v1alpha1.ReasonLastAdministrator)); err != nil {
		return err
	}
	if err := s.kubectl(ctx, "get", "shardinguser", "admin", "-o", messageOf(v1alpha1.ConditionReady)); err != nil {
		return err
	}
	if err := demote("admin"); err != nil {
		return err
	}
	if err := s.user(ctx, systemNamespace, "admin", "is in sync again", hasReason(v1alpha1.ReasonSynced)); err != nil {
		return err
	}
	after, err := s.db.row(ctx, "admin")
	switch {
	case err != nil:
		return err
	case after.Roles != before.Roles:
		return fmt.Errorf("expected the roles of admin as they were, %s; they are %s", before.Roles, after.Roles)
	}
	s.good("admin kept its role")
	return nil
}
