// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// request is what users are asked for by an annotation, such as an unlock, until the operator has handled it.
type request struct {
	*env
	output  *output
	waiting *waiting

	what, done string // as in "unlock requested" and "unlocked"
	edit       func(u *v1alpha1.ShardingUser)
	isDone     func(u *v1alpha1.ShardingUser) bool
}

// of asks for all users, waits for each, and prints what became of it. AsList prints one user as a list too.
func (r request) of(ctx context.Context, kube client.Client, users []v1alpha1.ShardingUser, asList bool) error {
	var errs []error
	asked := users[:0]
	for _, u := range users { // all of them at first, since the operator works at once
		if err := r.ask(ctx, kube, &u); err != nil {
			errs = append(errs, err)
			continue
		}
		asked = append(asked, u)
	}
	for i := range asked {
		u := &asked[i]
		err := r.waiting.until(ctx, kube, u, r.done, func(u *v1alpha1.ShardingUser) (bool, error) { return r.isDone(u), nil })
		switch {
		case err != nil:
			errs = append(errs, err)
		case r.output.format != "":
		case r.waiting.wait:
			r.Out.say("%s %s", called(u), r.done)
		default:
			r.Out.say("%s: %s requested", called(u), r.what)
		}
	}
	if r.output.format != "" {
		errs = append(errs, r.output.users(r.Out, asked, asList))
	}
	return errors.Join(errs...)
}

func (r request) ask(ctx context.Context, kube client.Client, u *v1alpha1.ShardingUser) error {
	if err := refusePaused(u); err != nil {
		return err
	}
	base := u.DeepCopy()
	if u.Annotations == nil {
		u.Annotations = map[string]string{}
	}
	r.edit(u)
	return kube.Patch(ctx, u, client.MergeFrom(base))
}
