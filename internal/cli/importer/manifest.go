// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Manifests as import writes them: all that it decides, defaults too, so that whoever changes one of them finds it there; and
// nothing that it does not.
type (
	meta1 struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace,omitempty"`
	}

	userManifest struct {
		APIVersion string   `json:"apiVersion"`
		Kind       string   `json:"kind"`
		Metadata   meta1    `json:"metadata"`
		Spec       userSpec `json:"spec"`
	}

	userSpec struct {
		Username       string                  `json:"username,omitempty"`
		Roles          []string                `json:"roles"`
		Active         bool                    `json:"active"`
		Password       *passwordSpec           `json:"password,omitempty"`
		AdoptionPolicy v1alpha1.AdoptionPolicy `json:"adoptionPolicy"`
		DeletionPolicy v1alpha1.DeletionPolicy `json:"deletionPolicy"`
	}

	passwordSpec struct {
		SecretRef v1alpha1.SecretKeyReference `json:"secretRef"`
		Format    v1alpha1.PasswordFormat     `json:"format"`
	}

	secretManifest struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Metadata   meta1             `json:"metadata"`
		Type       string            `json:"type"`
		Data       map[string][]byte `json:"data"`
	}
)

// An Entry is what becomes of one row.
type Entry struct {
	user   userManifest
	secret *secretManifest // nil where there is no password to bring along
}

// Manifests returns those of an entry, the Secret first, so that the user finds it.
func (e Entry) Manifests(secrets bool) (all []any) {
	if secrets && e.secret != nil {
		all = append(all, e.secret)
	}
	return append(all, e.user)
}

// HasSecret reports whether there is a password to bring along.
func (e Entry) HasSecret() bool { return e.secret != nil }

// What changes and remarks call objects, and the field of a user that is not import's alone.
const (
	ObjectUser    = "shardinguser.sharding.io/"
	ObjectSecret  = "secret/"
	fieldPassword = "password"
)

// differences names the fields in which a user is not as it is wanted, as far as that says. What is said in another way
// (roles in another order, a default) is no difference.
func (want userManifest) differences(have *v1alpha1.ShardingUser) (fields []string) {
	differs := func(field string, differs bool) {
		if differs {
			fields = append(fields, field)
		}
	}
	roles := make([]string, 0, len(have.Spec.Roles))
	for _, role := range have.Spec.Roles {
		roles = append(roles, string(role))
	}
	differs("namespace", want.Metadata.Namespace != "" && want.Metadata.Namespace != have.Namespace)
	differs("username", want.username() != user.Username(have))
	differs("roles", !slices.Equal(sorted(want.Spec.Roles), sorted(roles)))
	differs("active", want.Spec.Active != (have.Spec.Active == nil || *have.Spec.Active))
	differs("adoptionPolicy", want.Spec.AdoptionPolicy != have.Spec.AdoptionPolicy)
	differs("deletionPolicy", want.Spec.DeletionPolicy != have.Spec.DeletionPolicy)
	differs(fieldPassword, want.passwordDiffers(have.Spec.Password))
	return fields
}

// passwordDiffers is about where the password comes from. Whoever wants none has nothing to say of one that an import did not
// bring along.
func (want userManifest) passwordDiffers(have *v1alpha1.PasswordSource) bool {
	w := want.Spec.Password
	switch {
	case have == nil:
		return w != nil
	case w == nil:
		return have.Format == v1alpha1.PasswordFormatBcrypt && have.SecretRef.Name == want.Metadata.Name+SecretSuffix
	}
	return have.Format != w.Format || have.SecretRef != w.SecretRef
}

func (want userManifest) username() string {
	if want.Spec.Username != "" {
		return want.Spec.Username
	}
	return want.Metadata.Name
}

// settle fits an entry to the user that is there already, nil for none; ok is false where it cannot.
func (e Entry) settle(have *v1alpha1.ShardingUser) (settled Entry, r *Remark, ok bool) {
	username := e.user.username()
	switch {
	case have == nil:
	case user.Username(have) != username:
		return e, &Remark{username, NotApplied, fmt.Sprintf(
			"the ShardingUser %s exists with the username %q, which cannot be changed", have.Name, user.Username(have))}, false
	case have.Spec.Password != nil && have.Spec.Password.Generate != nil:
		e.secret = nil
		e.user.Spec.Password = &passwordSpec{have.Spec.Password.SecretRef, have.Spec.Password.Format}
		return e, &Remark{username, generated, fmt.Sprintf(
			"the ShardingUser %s has spec.password.generate and keeps the generated password", have.Name)}, true
	}
	return e, nil, true
}

// differs tells whether a Secret's value is another one.
func (want secretManifest) differs(have map[string][]byte) bool {
	return !bytes.Equal(want.Data[SecretKey], password.Trim(have[SecretKey]))
}

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.SortFunc(list, strings.Compare)
	return list
}
