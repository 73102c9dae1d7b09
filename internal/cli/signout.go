// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
	var errs []error
	asked := users[:0]
	for _, u := range users { // all of them at first, since the operator works at once
		if err := requestSignOut(ctx, kube, &u, value); err != nil {
			errs = append(errs, err)
			continue
		}
		asked = append(asked, u)
	}
	for i := range asked {
		u := &asked[i]
		err := s.waiting.until(ctx, kube, u, "signed out", func(u *v1alpha1.ShardingUser) (bool, error) {
			return u.Status.LastHandledSignOut == value, nil
		})
		switch {
		case err != nil:
			errs = append(errs, err)
		case s.output.format != "":
		case s.waiting.wait:
			s.Out.say("%s signed out", called(u))
		default:
			s.Out.say("%s: sign-out requested", called(u))
		}
	}
	if s.output.format != "" {
		errs = append(errs, s.output.users(s.Out, asked, len(names) != 1))
	}
	return errors.Join(errs...)
}

// requestSignOut asks the operator to revoke the tokens of a user.
func requestSignOut(ctx context.Context, kube client.Client, u *v1alpha1.ShardingUser, value string) error {
	if err := refusePaused(u); err != nil {
		return err
	}
	base := u.DeepCopy()
	if u.Annotations == nil {
		u.Annotations = map[string]string{}
	}
	u.Annotations[v1alpha1.AnnotationSignOutRequestedAt] = value
	return kube.Patch(ctx, u, client.MergeFrom(base))
}
