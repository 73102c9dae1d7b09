// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// fieldManager is whose the fields are that import applies.
const fieldManager = "kubectl-shardinguser"

// A Cluster is a target of one namespace of a cluster. Objects that are as wanted are not sent.
type Cluster struct {
	Kube      client.Client
	Namespace string
	Secrets   bool // whether Secrets are applied, too
}

// A step is one object that is to be applied.
type step struct {
	Change
	username string
	object   client.Object
}

// Changes implements Target.
func (a Cluster) Changes(ctx context.Context, entries []Entry) (changes []Change, remarks []Remark, err error) {
	plans, remarks, err := a.plan(ctx, entries)
	for _, p := range slices.Concat(plans...) {
		changes = append(changes, p.Change)
	}
	return changes, remarks, err
}

// plan is what is to be applied of each entry that needs it, the Secret first.
func (a Cluster) plan(ctx context.Context, entries []Entry) (plans [][]step, remarks []Remark, err error) {
	var users v1alpha1.ShardingUserList
	if err := a.Kube.List(ctx, &users, client.InNamespace(a.Namespace)); err != nil {
		return nil, nil, err
	}
	haveUsers := map[string]*v1alpha1.ShardingUser{}
	for i := range users.Items {
		haveUsers[users.Items[i].Name] = &users.Items[i]
	}
	haveSecrets, err := a.listSecrets(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		var steps []step
		have, username := haveUsers[e.user.Name], user.Username(e.user)
		e, r, ok := e.settle(have)
		if r != nil {
			remarks = append(remarks, *r)
		}
		if !ok {
			continue
		}
		if e.secret != nil && a.Secrets {
			data, exists := haveSecrets[e.secret.Name]
			if s := (step{Change{Action: Create, Object: Called(e.secret)}, username, e.secret}); !exists {
				steps = append(steps, s)
			} else if secretDiffers(e.secret, data) {
				s.Action, s.Fields = Update, []string{"data." + SecretKey}
				steps = append(steps, s)
			}
		}
		s := step{Change{Action: Create, Object: Called(e.user)}, username, e.user}
		if have == nil {
			steps = append(steps, s)
		} else if s.Fields = differences(e.user, have); len(s.Fields) > 0 {
			s.Action = Update
			steps = append(steps, s)
		}
		if len(steps) > 0 {
			plans = append(plans, steps)
		}
	}
	return plans, remarks, nil
}

func (a Cluster) listSecrets(ctx context.Context) (map[string]map[string][]byte, error) {
	if !a.Secrets {
		return nil, nil
	}
	var list corev1.SecretList
	if err := a.Kube.List(ctx, &list, client.InNamespace(a.Namespace)); err != nil {
		return nil, fmt.Errorf("read the Secrets of the namespace %q to compare them: %w; allow it, or set --secrets=skip", a.Namespace, err)
	}
	data := make(map[string]map[string][]byte, len(list.Items))
	for i := range list.Items {
		data[list.Items[i].Name] = list.Items[i].Data
	}
	return data, nil
}

// Write applies the objects that differ, several entries at once. An object that the API server rejects stops no other entry.
func (a Cluster) Write(ctx context.Context, entries []Entry) (changes []Change, remarks []Remark, err error) {
	plans, remarks, err := a.plan(ctx, entries)
	if err != nil {
		return nil, remarks, err
	}
	var mu sync.Mutex
	results := make([][]Change, len(plans))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i, steps := range plans {
		group.Go(func() error {
			done, err := a.take(ctx, steps)
			results[i] = done
			var r refusal
			if !errors.As(err, &r) {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			remarks = append(remarks, Remark{r.step.username, NotApplied, r.Error()})
			return nil
		})
	}
	err = group.Wait()
	return slices.Concat(results...), remarks, err
}

// errShared says that an object would not be as it is wanted after it was applied.
var errShared = errors.New("another field manager also sets these fields, and import would have no effect; change them there")

// A refusal is what the API server said of one object, which keeps no other from being applied.
type refusal struct {
	step step
	err  error
}

func (r refusal) Error() string { return fmt.Sprintf("%s: %v", r.step.Object, r.err) }

// take applies the objects of one entry, and returns which. None is, unless what is there already could be: a Secret is of
// no use where its user is refused.
func (a Cluster) take(ctx context.Context, steps []step) (done []Change, err error) {
	for _, s := range steps {
		if s.Action == Update {
			if err := a.try(ctx, s); err != nil {
				return nil, refused(s, err)
			}
		}
	}
	for _, s := range steps {
		if _, err := a.apply(ctx, s.object); err != nil {
			return done, refused(s, err)
		}
		done = append(done, s.Change)
	}
	return done, nil
}

func refused(s step, err error) error {
	if isRefusal(err) {
		return refusal{s, err}
	}
	return fmt.Errorf("apply %s: %w", s.Object, err)
}

// try checks the result of a step by a dry run: another field manager may have added roles, and server-side apply would leave
// both its roles and ours.
func (a Cluster) try(ctx context.Context, s step) error {
	tried, err := a.apply(ctx, s.object, client.DryRunAll)
	if err != nil {
		return err
	}
	wanted, ok := s.object.(*v1alpha1.ShardingUser)
	if !ok {
		return nil
	}
	var after v1alpha1.ShardingUser
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(tried.Object, &after); err != nil {
		return err
	}
	if fields := differences(wanted, &after); len(fields) > 0 {
		return fmt.Errorf("%s: %w", strings.Join(fields, ", "), errShared)
	}
	return nil
}

// isRefusal tells whether the API server refused one object. Its messages of conflicts and of what is invalid name fields and
// who has them; of what it refuses in a Secret, which is none of ours to be refused, they quote nothing.
func isRefusal(err error) bool {
	return errors.Is(err, errShared) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err)
}

// apply returns the result of server-side apply. If another field manager owns a field, the API server's error names it.
func (a Cluster) apply(ctx context.Context, wanted client.Object, options ...client.ApplyOption) (*unstructured.Unstructured, error) {
	manifest, err := manifestOf(wanted)
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{Object: manifest}
	object.SetNamespace(a.Namespace)
	return object, a.Kube.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), append(options, client.FieldOwner(fieldManager))...)
}
