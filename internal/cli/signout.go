// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

type signOuter struct {
	*env
	output  output
	waiting waiting
}

func newSignOut(e *env) *cobra.Command {
	s := &signOuter{env: e}
	cmd := &cobra.Command{
		Use:   "sign-out NAME...",
		Short: "Revoke the tokens of users",
		Long: `Revoke the tokens of users: the login API refuses tokens that it issued before. Users can log in again. To prevent that, use lock.

This sets the annotation ` + v1alpha1.AnnotationSignOutRequestedAt + ` to the current time and waits until the operator has
handled it. Programs that check tokens themselves accept them until they expire.`,
		Example: `  # Refuse all tokens that alice has
  kubectl shardinguser sign-out alice`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: e.completeUsers(1000),
		RunE:              func(cmd *cobra.Command, args []string) error { return s.run(cmd.Context(), args) },
	}
	s.output.bind(cmd, asJSON, asYAML, asName)
	s.waiting.bind(cmd)
	return cmd
}

func (s *signOuter) run(ctx context.Context, names []string) error {
	if err := s.output.check(); err != nil {
		return err
	}
	kube, namespace, err := s.cluster()
	if err != nil {
		return err
	}
	users, err := getUsers(ctx, kube, namespace, names)
	if err != nil {
		return err
	}
	value := time.Now().UTC().Format(time.RFC3339Nano)
	return request{
		env: s.env, output: &s.output, waiting: &s.waiting, what: "sign-out", done: "signed out",
		edit:   func(u *v1alpha1.ShardingUser) { u.Annotations[v1alpha1.AnnotationSignOutRequestedAt] = value },
		isDone: func(u *v1alpha1.ShardingUser) bool { return u.Status.LastHandledSignOut == value },
	}.of(ctx, kube, users, len(names) != 1)
}
