// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

type locker struct {
	*env
	output  output
	waiting waiting
	undo    bool
}

func newLock(e *env) *cobra.Command {
	l := &locker{env: e}
	cmd := &cobra.Command{
		Use:   "lock NAME",
		Short: "Refuse every login of a user until lock --undo",
		Long: `Refuse every login of a user, even with the right password, by setting spec.active to false until lock --undo. To remove a lock
of failed attempts, use unlock.

If a GitOps tool manages the resource, it reverts spec.active. Change it in Git too.`,
		Example: `  # Refuse every login of alice
  kubectl shardinguser lock alice

  # Allow alice to log in again
  kubectl shardinguser lock alice --undo`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completeUsers(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return l.run(cmd.Context(), args[0]) },
	}
	l.output.bind(cmd, asJSON, asYAML, asName)
	l.waiting.bind(cmd)
	cmd.Flags().BoolVar(&l.undo, "undo", false, "Allow the user to log in again")
	return cmd
}

func (l *locker) run(ctx context.Context, name string) error {
	if err := l.output.check(); err != nil {
		return err
	}
	kube, namespace, err := l.cluster()
	if err != nil {
		return err
	}
	u, err := getUser(ctx, kube, namespace, name)
	if err != nil {
		return err
	}
	if err := refusePaused(u); err != nil {
		return err
	}
	was := u.Spec.Active == nil || *u.Spec.Active
	base := u.DeepCopy()
	u.Spec.Active = &l.undo
	if err := kube.Patch(ctx, u, client.MergeFrom(base)); err != nil {
		return err
	}
	if err := l.waiting.until(ctx, kube, u, "changed", applied); err != nil {
		return err
	}
	if manager := gitOps(u); manager != "" && was != l.undo {
		l.ErrOut.say("%s manages %s and may revert spec.active. Change it there too.", manager, called(u))
	}
	if l.output.format != "" {
		return l.output.users(l.Out, []v1alpha1.ShardingUser{*u}, false)
	}
	l.Out.say("%s %s", called(u), outcome(u, was, l.undo))
	return nil
}

// outcome says what became of a user that was active, or not, and is now, or not.
func outcome(u *v1alpha1.ShardingUser, was, is bool) string {
	switch {
	case !was && !is:
		return "is already locked: every login is refused"
	case !is:
		return "locked: every login is refused"
	case u.Status.Locked:
		return "can log in, but is locked because of failed attempts: see unlock"
	case was:
		return "is not locked: spec.active is true"
	}
	return "can log in again"
}
