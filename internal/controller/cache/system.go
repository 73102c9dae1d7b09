// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// OfSystem selects the ShardingUsers of one system. To the API server an absent field is the empty value, which is the default
// system.
func OfSystem(system string) fields.Selector { return fields.OneTermEqualSelector(fieldSystem, system) }

// fieldSystem is a selectable field of the CRD.
const fieldSystem = "spec.system"

// Options are those of a manager's cache, which watches only the ShardingUsers of one system; no namespaces are all.
func Options(system string, namespaces []string) cache.Options {
	watched := map[string]cache.Config{}
	for _, name := range namespaces {
		watched[name] = cache.Config{}
	}
	return cache.Options{
		DefaultNamespaces: watched,
		DefaultTransform:  Trim,
		NewInformer:       NewInformer,
		ByObject:          map[client.Object]cache.ByObject{&v1alpha1.ShardingUser{}: {Field: OfSystem(system)}},
	}
}

// ForSystem returns a reader that has only the ShardingUsers of one system, and everything else that the other reader has. A
// ShardingUser of another system does not exist to it.
func ForSystem(reader client.Reader, system string) client.Reader {
	return systemReader{Reader: reader, system: system}
}

type systemReader struct {
	client.Reader
	system string
}

func (r systemReader) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	if err := r.Reader.Get(ctx, key, object, options...); err != nil {
		return err
	}
	if u, isUser := object.(*v1alpha1.ShardingUser); isUser && u.Spec.System != r.system {
		*u = v1alpha1.ShardingUser{}
		return apierrors.NewNotFound(schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "shardingusers"}, key.Name)
	}
	return nil
}

func (r systemReader) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	if _, areUsers := list.(*v1alpha1.ShardingUserList); areUsers {
		var combined client.ListOptions
		combined.ApplyOptions(options)
		selector := OfSystem(r.system)
		if combined.FieldSelector != nil {
			selector = fields.AndSelectors(combined.FieldSelector, selector)
		}
		options = append(options, client.MatchingFieldsSelector{Selector: selector})
	}
	return r.Reader.List(ctx, list, options...)
}

// checkTimeout bounds CheckSystem.
const checkTimeout = 10 * time.Second

// CheckSystem asks the API server for users of a system, as the manager will. The error says what to do if only people can fix
// it.
func CheckSystem(ctx context.Context, reader client.Reader, system string, namespaces []string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	options := []client.ListOption{client.Limit(1)}
	if len(namespaces) > 0 {
		options = append(options, client.InNamespace(namespaces[0]))
	}
	err := ForSystem(reader, system).List(ctx, &v1alpha1.ShardingUserList{}, options...)
	if apierrors.IsBadRequest(err) {
		return fmt.Errorf("select ShardingUsers by %s: %w; apply config/crd of this version, in which the field can be selected", fieldSystem, err)
	}
	if err != nil {
		return fmt.Errorf("read ShardingUsers: %w; apply config/crd and config/rbac", err)
	}
	return nil
}
