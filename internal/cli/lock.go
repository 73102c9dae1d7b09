// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

type locker struct {
	*env
	output  output
	waiting waiting
	undo    bool
	until   string
	reason  string
}

func newLock(e *env) *cobra.Command {
	l := &locker{env: e}
	cmd := &cobra.Command{
		Use:   "lock NAME",
		Short: "Refuse every login of a user until a time, or until unlock",
		Long: `Refuse every login of a user, even with the right password, by setting spec.lock. The lock ends at the time of --until, or when
unlock or lock --undo removes it.

A GitOps tool leaves spec.lock alone if Git does not have it.`,
		Example: `  # Refuse every login of alice
  kubectl shardinguser lock alice

  # Refuse them for a week, and say why
  kubectl shardinguser lock alice --until 168h --reason "left the project"

  # Allow alice to log in again
  kubectl shardinguser lock alice --undo`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completeUsers(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return l.run(cmd.Context(), args[0]) },
	}
	l.output.bind(cmd, asJSON, asYAML, asName)
	l.waiting.bind(cmd)
	cmd.Flags().BoolVar(&l.undo, "undo", false, "Allow the user to log in again")
	cmd.Flags().StringVar(&l.until, "until", "", "When the lock ends: a time such as 2027-01-31T00:00:00Z, or a duration from now such as 24h")
	cmd.Flags().StringVar(&l.reason, "reason", "", "Why the user is locked; it is shown in the status and in Events")
	return cmd
}

func (l *locker) run(ctx context.Context, name string) error {
	lock, err := l.lock(time.Now())
	if err != nil {
		return err
	}
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
	was := isShut(u)
	wasActive := u.Spec.Active == nil || *u.Spec.Active
	base := u.DeepCopy()
	u.Spec.Lock = lock
	if l.undo && !wasActive { // an older lock set it
		u.Spec.Active = &l.undo
	}
	if err := kube.Patch(ctx, u, client.MergeFrom(base)); err != nil {
		return err
	}
	if lock != nil && u.Spec.Lock == nil {
		return errNoLockField
	}
	if err := l.waiting.until(ctx, kube, u, "changed", applied); err != nil {
		return err
	}
	if manager := gitOps(u); manager != "" && l.undo && !wasActive {
		l.ErrOut.say("%s manages %s and may revert spec.active. Change it there too.", manager, called(u))
	}
	if l.output.format != "" {
		return l.output.users(l.Out, []v1alpha1.ShardingUser{*u}, false)
	}
	l.Out.say("%s %s", called(u), outcome(u, was, l.undo))
	return nil
}

// errNoLockField reports a CustomResourceDefinition from before spec.lock: the API server drops the field.
var errNoLockField = errors.New("the API server does not know spec.lock, so the user is not locked: its CustomResourceDefinition is older " +
	"than this plugin; update it, or set spec.active to false")

// lock returns the lock that the flags describe; nil to remove it.
func (l *locker) lock(now time.Time) (*v1alpha1.StandingLock, error) {
	if l.undo {
		if l.until != "" || l.reason != "" {
			return nil, errors.New("--undo cannot be combined with --until or --reason; unlock takes a --reason")
		}
		return nil, nil //nolint:nilnil // no lock
	}
	if err := checkReason(l.reason); err != nil {
		return nil, err
	}
	lock := &v1alpha1.StandingLock{Reason: l.reason}
	if l.until == "" {
		return lock, nil
	}
	until, err := time.Parse(time.RFC3339, l.until)
	if duration, notDuration := time.ParseDuration(l.until); notDuration == nil {
		until, err = now.Add(duration), nil
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("--until %q is neither a time such as 2027-01-31T00:00:00Z nor a duration such as 24h", l.until)
	case !until.After(now):
		return nil, fmt.Errorf("--until %q is not in the future", l.until)
	}
	lock.Until = &metav1.Time{Time: until.UTC()}
	return lock, nil
}

// checkReason returns an error if the text cannot be a reason.
func checkReason(reason string) error {
	const most = 256
	if utf8.RuneCountInString(reason) > most {
		return fmt.Errorf("--reason is longer than %d characters", most)
	}
	if strings.ContainsFunc(reason, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(reason) {
		return errors.New("--reason has only printable characters, on one line")
	}
	return nil
}

// isShut reports whether the resource itself refuses every login, by the clock of this computer.
func isShut(u *v1alpha1.ShardingUser) bool {
	return u.Spec.Active != nil && !*u.Spec.Active || hasStandingLock(u, time.Now())
}

// hasStandingLock reports whether the resource has a lock that has not ended.
func hasStandingLock(u *v1alpha1.ShardingUser, now time.Time) bool {
	return u.Spec.Lock != nil && (u.Spec.Lock.Until == nil || u.Spec.Lock.Until.After(now))
}

// outcome says what became of a user that refused every login, or not, before the lock was set or removed.
func outcome(u *v1alpha1.ShardingUser, was, undo bool) string {
	until := ""
	if u.Spec.Lock != nil && u.Spec.Lock.Until != nil {
		until = " until " + u.Spec.Lock.Until.UTC().Format(time.RFC3339)
	}
	switch {
	case was && !undo:
		return "is already locked: every login is refused" + until
	case !undo:
		return "locked: every login is refused" + until
	case u.Status.Locked:
		return "can log in, but is locked because of failed attempts: see unlock"
	case u.Status.Expired:
		return "is not locked, but has expired: see spec.validUntil"
	case !was:
		return "is not locked: it has no spec.lock, and spec.active is true"
	}
	return "can log in again"
}
