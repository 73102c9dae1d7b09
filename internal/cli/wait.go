// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// waiting is the flags --wait and --timeout.
type waiting struct {
	wait    bool
	timeout time.Duration
}

func (w *waiting) bind(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.wait, "wait", true, "Wait until the operator has applied the change")
	cmd.Flags().DurationVar(&w.timeout, "timeout", 30*time.Second, "Maximum time to wait")
	complete(cmd, "timeout", cobra.NoFileCompletions)
}

// A verdict says whether a user is as it was waited for: true, or a finding where it never will be.
type verdict func(u *v1alpha1.ShardingUser) (bool, error)

// until reads the user again until it is as wanted. When the time is over, it returns a finding with the state.
func (w *waiting) until(ctx context.Context, kube client.Client, u *v1alpha1.ShardingUser, what string, is verdict) error {
	if !w.wait {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	err := wait.PollUntilContextCancel(limited, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		if err := kube.Get(ctx, client.ObjectKeyFromObject(u), u); err != nil {
			return false, err
		}
		return is(u)
	})
	if limited.Err() != nil && ctx.Err() == nil {
		return findingf("%s was not %s within %v: it is %s (kubectl shardinguser doctor %s -n %s explains why)",
			called(u), what, w.timeout, state(u), u.Name, u.Namespace)
	}
	return err
}

// applied reports whether the operator applied an edit of the spec that does not concern the password.
func applied(u *v1alpha1.ShardingUser) (bool, error) {
	ready := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.ObservedGeneration != u.Generation {
		return false, nil
	}
	if user.OfReady(ready.Reason).PasswordOnly {
		return true, nil
	}
	stalled := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionStalled)
	if stalled != nil && stalled.Status == metav1.ConditionTrue && stalled.ObservedGeneration == u.Generation {
		return false, findingf("%s: %s: %s", called(u), stalled.Reason, stalled.Message)
	}
	return ready.Status == metav1.ConditionTrue, nil
}

// refusePaused says of a paused user that nothing will come of a request.
func refusePaused(u *v1alpha1.ShardingUser) error {
	if u.Annotations[v1alpha1.AnnotationPaused] != "true" {
		return nil
	}
	return fmt.Errorf("%s is paused, so the operator changes nothing for it; remove the annotation first "+
		"(kubectl annotate shardinguser %s -n %s %s-)", called(u), u.Name, u.Namespace, v1alpha1.AnnotationPaused)
}
