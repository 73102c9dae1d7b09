// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

type unlocker struct {
	*env
	output        output
	waiting       waiting
	reason        string
	allLocked     bool
	allNamespaces bool
}

func newUnlock(e *env) *cobra.Command {
	l := &unlocker{env: e}
	cmd := &cobra.Command{
		Use:   "unlock NAME...",
		Short: "Unlock users and reset their failed attempts",
		Long: `Remove the locks of failed attempts, reset the counters of failed attempts, and remove spec.lock, which lock sets.

This sets the annotation ` + v1alpha1.AnnotationUnlockRequestedAt + ` to the current time and waits until the operator
has handled it.`,
		Example: `  # One user
  kubectl shardinguser unlock alice

  # All users of all namespaces that are locked because of failed attempts
  kubectl shardinguser unlock --all-locked -A`,
		ValidArgsFunction: e.completeUsers(1000),
		RunE:              func(cmd *cobra.Command, args []string) error { return l.run(cmd.Context(), args) },
	}
	l.output.bind(cmd, asJSON, asYAML, asName)
	l.waiting.bind(cmd)
	cmd.Flags().StringVar(&l.reason, "reason", "", "Why the users are unlocked; it is recorded in the annotation "+v1alpha1.AnnotationUnlockReason)
	cmd.Flags().BoolVar(&l.allLocked, "all-locked", false, "Unlock all users that are locked because of failed attempts, instead of names")
	cmd.Flags().BoolVarP(&l.allNamespaces, "all-namespaces", "A", false, "With --all-locked: in all namespaces")
	return cmd
}

func (l *unlocker) run(ctx context.Context, names []string) error {
	switch {
	case l.allLocked == (len(names) > 0):
		return errors.New("set the names of users, or --all-locked")
	case l.allNamespaces && !l.allLocked:
		return errors.New("--all-namespaces requires --all-locked")
	}
	if err := checkReason(l.reason); err != nil {
		return err
	}
	if err := l.output.check(); err != nil {
		return err
	}
	kube, namespace, err := l.cluster()
	if err != nil {
		return err
	}
	if l.allNamespaces {
		namespace = ""
	}
	users, err := l.chosen(ctx, kube, namespace, names)
	if err != nil {
		return err
	}
	if len(users) == 0 {
		l.ErrOut.say("%s", nobody(namespace, true))
	}
	value := time.Now().UTC().Format(time.RFC3339Nano)
	return request{
		env: l.env, output: &l.output, waiting: &l.waiting, what: "unlock", done: "unlocked",
		edit: func(u *v1alpha1.ShardingUser) {
			u.Annotations[v1alpha1.AnnotationUnlockRequestedAt] = value
			delete(u.Annotations, v1alpha1.AnnotationUnlockReason) // of an earlier one
			if l.reason != "" {
				u.Annotations[v1alpha1.AnnotationUnlockReason] = l.reason
			}
			u.Spec.Lock = nil
		},
		isDone: func(u *v1alpha1.ShardingUser) bool {
			return u.Status.LastHandledUnlock == value && u.Status.ObservedGeneration == u.Generation && !u.Status.Locked
		},
	}.of(ctx, kube, users, len(names) != 1)
}

// chosen are the users that were named, or are locked because of failed attempts. All that were named have to be there before any is
// unlocked. A user that an administrator locked has to be named: all others are unlocked in bulk after an attack.
func (l *unlocker) chosen(ctx context.Context, kube client.Client, namespace string, names []string) ([]v1alpha1.ShardingUser, error) {
	if !l.allLocked {
		return getUsers(ctx, kube, namespace, names)
	}
	users, err := listUsers(ctx, kube, namespace, true, "")
	stay := func(u v1alpha1.ShardingUser) bool { return hasStandingLock(&u, time.Now()) }
	all := len(users)
	users = slices.DeleteFunc(users, stay)
	if kept := all - len(users); kept > 0 {
		l.ErrOut.say("Skipped %d users that spec.lock locks; to unlock them, name them.", kept)
	}
	return users, err
}
