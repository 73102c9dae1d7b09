// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"bytes"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// An Entry is what becomes of one row.
type Entry struct {
	user   *v1alpha1.ShardingUser
	secret *corev1.Secret // nil where there is no password to bring along
}

// Manifests returns the manifests of an entry, the Secret first, so that the user finds it.
func (e Entry) Manifests(secrets bool) (all []map[string]any, err error) {
	objects := []client.Object{e.user}
	if secrets && e.secret != nil {
		objects = []client.Object{e.secret, e.user}
	}
	for _, object := range objects {
		manifest, err := manifestOf(object)
		if err != nil {
			return nil, err
		}
		all = append(all, manifest)
	}
	return all, nil
}

// manifestOf returns an object as import writes it: all that it decides, defaults and the absence of roles too, so that users
// find there what they may change; and nothing that it does not decide.
func manifestOf(object client.Object) (map[string]any, error) {
	manifest, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, err
	}
	delete(manifest, "status")
	if u, ok := object.(*v1alpha1.ShardingUser); ok && len(u.Spec.Roles) == 0 {
		err = unstructured.SetNestedSlice(manifest, []any{}, "spec", "roles")
	}
	return manifest, err
}

// HasSecret reports whether there is a password to bring along.
func (e Entry) HasSecret() bool { return e.secret != nil }

// The names of objects in changes and remarks, and the field of a user that import shares with others.
const (
	objectUser    = "shardinguser.sharding.io/"
	objectSecret  = "secret/"
	fieldPassword = "password"
)

// Called returns what changes and remarks call an object: its kind and name.
func Called(object client.Object) string {
	if _, ok := object.(*v1alpha1.ShardingUser); ok {
		return objectUser + object.GetName()
	}
	return objectSecret + object.GetName()
}

// differences returns the fields in which a user differs from the wanted one. Another order of roles, or a default that is not
// written, is no difference.
func differences(want, have *v1alpha1.ShardingUser) (fields []string) {
	differs := func(field string, differs bool) {
		if differs {
			fields = append(fields, field)
		}
	}
	differs("namespace", want.Namespace != "" && want.Namespace != have.Namespace)
	differs("system", want.Spec.System != have.Spec.System)
	differs("username", user.Username(want) != user.Username(have))
	differs("roles", !slices.Equal(slices.Sorted(slices.Values(want.Spec.Roles)), slices.Sorted(slices.Values(have.Spec.Roles))))
	differs("active", isActive(want) != isActive(have))
	differs("adoptionPolicy", want.Spec.AdoptionPolicy != have.Spec.AdoptionPolicy)
	differs("deletionPolicy", want.Spec.DeletionPolicy != have.Spec.DeletionPolicy)
	differs(fieldPassword, passwordDiffers(want, have.Spec.Password))
	return fields
}

func isActive(u *v1alpha1.ShardingUser) bool { return u.Spec.Active == nil || *u.Spec.Active }

// passwordDiffers is about where the password comes from. A user without one says nothing of one that an import did not bring
// along.
func passwordDiffers(want *v1alpha1.ShardingUser, have *v1alpha1.PasswordSource) bool {
	w := want.Spec.Password
	switch {
	case have == nil:
		return w != nil
	case w == nil:
		return have.Format == v1alpha1.PasswordFormatBcrypt && have.SecretRef.Name == want.Name+SecretSuffix
	}
	return have.Format != w.Format || have.SecretRef != w.SecretRef
}

// settle fits an entry to the user that is there already, nil for none; ok is false where it cannot.
func (e Entry) settle(have *v1alpha1.ShardingUser) (settled Entry, r *Remark, ok bool) {
	username := user.Username(e.user)
	switch {
	case have == nil:
	case have.Spec.System != e.user.Spec.System:
		return e, &Remark{username, NotApplied, fmt.Sprintf(
			"the ShardingUser %s exists in the system %q, which cannot be changed", have.Name, have.Spec.System)}, false
	case user.Username(have) != username:
		return e, &Remark{username, NotApplied, fmt.Sprintf(
			"the ShardingUser %s exists with the username %q, which cannot be changed", have.Name, user.Username(have))}, false
	case have.Spec.Password != nil && have.Spec.Password.Generate != nil:
		e.secret = nil
		e.user = e.user.DeepCopy()
		e.user.Spec.Password = &v1alpha1.PasswordSource{SecretRef: have.Spec.Password.SecretRef, Format: have.Spec.Password.Format}
		return e, &Remark{username, generated, fmt.Sprintf(
			"the ShardingUser %s has spec.password.generate and keeps the generated password", have.Name)}, true
	}
	return e, nil, true
}

// secretDiffers reports whether a Secret's value is another one.
func secretDiffers(want *corev1.Secret, have map[string][]byte) bool {
	return !bytes.Equal(want.Data[SecretKey], password.Trim(have[SecretKey]))
}
