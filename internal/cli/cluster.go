// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// scheme has the kinds that commands know.
var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(authenticationv1.AddToScheme(s))
	utilruntime.Must(corev1.AddToScheme(s))
	utilruntime.Must(coordinationv1.AddToScheme(s))
	utilruntime.Must(eventsv1.AddToScheme(s))
	utilruntime.Must(v1alpha1.AddToScheme(s))
	return s
}()

// mapper knows where the API server has these kinds. To discover it takes rights and round trips for what is known.
func mapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	for kind, scope := range map[schema.GroupVersionKind]meta.RESTScope{
		v1alpha1.GroupVersion.WithKind("ShardingUser"):       meta.RESTScopeNamespace,
		v1alpha1.GroupVersion.WithKind("ShardingUserPolicy"): meta.RESTScopeRoot,
		corev1.SchemeGroupVersion.WithKind("Secret"):         meta.RESTScopeNamespace,
		corev1.SchemeGroupVersion.WithKind("ConfigMap"):      meta.RESTScopeNamespace,
		eventsv1.SchemeGroupVersion.WithKind("Event"):        meta.RESTScopeNamespace,
		corev1.SchemeGroupVersion.WithKind("Event"):          meta.RESTScopeNamespace,
		corev1.SchemeGroupVersion.WithKind("Pod"):            meta.RESTScopeNamespace,
		corev1.SchemeGroupVersion.WithKind("ServiceAccount"): meta.RESTScopeNamespace,
		corev1.SchemeGroupVersion.WithKind("Namespace"):      meta.RESTScopeRoot,
		coordinationv1.SchemeGroupVersion.WithKind("Lease"):  meta.RESTScopeNamespace,
	} {
		m.Add(kind, scope)
	}
	return m
}

// cluster is the API server, with the rights of the user who runs the program, and the namespace that is meant.
func (e *env) cluster() (kube client.Client, namespace string, err error) {
	config, err := e.flags.ToRESTConfig()
	if err != nil {
		return nil, "", err
	}
	config.WarningHandler = rest.NewWarningWriter(e.ErrOut, rest.WarningWriterOptions{Deduplicate: true})
	config.QPS = -1 // the API server has priorities and fairness of its own
	namespace, _, err = e.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, "", err
	}
	kube, err = client.New(config, client.Options{Scheme: scheme, Mapper: mapper()})
	return kube, namespace, err
}

// getUser is the ShardingUser of this name.
func getUser(ctx context.Context, kube client.Client, namespace, name string) (*v1alpha1.ShardingUser, error) {
	u := &v1alpha1.ShardingUser{}
	if err := kube.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, u); err != nil {
		if apierrors.IsNotFound(err) && !isUnknownKind(err) {
			return nil, fmt.Errorf("ShardingUser %q not found in the namespace %q", name, namespace)
		}
		return nil, err
	}
	return u, nil
}

// getUsers reads the users of these names. Its error is the first one.
func getUsers(ctx context.Context, kube client.Client, namespace string, names []string) ([]v1alpha1.ShardingUser, error) {
	users := make([]v1alpha1.ShardingUser, 0, len(names))
	for _, name := range names {
		u, err := getUser(ctx, kube, namespace, name)
		if err != nil {
			return nil, err
		}
		users = append(users, *u)
	}
	return users, nil
}

// isUnknownKind tells whether the API server does not know the kind at all, rather than an object.
func isUnknownKind(err error) bool {
	var status apierrors.APIStatus
	return apierrors.IsNotFound(err) && errors.As(err, &status) &&
		(status.Status().Details == nil || status.Status().Details.Name == "")
}

// explain adds what to do to errors that leave people alone.
func explain(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	if isUnknownKind(err) {
		return fmt.Errorf("the cluster has no CRD for ShardingUsers: %w; install the operator first (kubectl apply -k config/default)", err)
	}
	return err
}
