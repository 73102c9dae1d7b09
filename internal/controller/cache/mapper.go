// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"net/http"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Mapper is a manager's MapperProvider that knows the kinds that the operator uses. It does not ask the API server for
// them, so a process that starts while the API server is unavailable waits for it and serves logins meanwhile.
func Mapper(*rest.Config, *http.Client) (meta.RESTMapper, error) {
	mapper := meta.NewDefaultRESTMapper(nil)
	for kind, scope := range map[schema.GroupVersionKind]meta.RESTScope{
		v1alpha1.GroupVersion.WithKind("ShardingUser"):       meta.RESTScopeNamespace,
		v1alpha1.GroupVersion.WithKind("ShardingUserPolicy"): meta.RESTScopeRoot,
		corev1.SchemeGroupVersion.WithKind("Secret"):         meta.RESTScopeNamespace,
		corev1.SchemeGroupVersion.WithKind("ConfigMap"):      meta.RESTScopeNamespace,
		corev1.SchemeGroupVersion.WithKind("Namespace"):      meta.RESTScopeRoot,

		authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview"): meta.RESTScopeRoot,
	} {
		mapper.Add(kind, scope)
		mapper.Add(kind.GroupVersion().WithKind(kind.Kind+"List"), scope)
	}
	return mapper, nil
}
