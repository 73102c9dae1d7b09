// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

func TestCacheKeepsNothingOfASecretButItsVersion(t *testing.T) {
	secret := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: "team-a", Name: "alice", UID: "a", ResourceVersion: "5",
		Labels: map[string]string{"a": "b"},
		Annotations: map[string]string{
			"kubectl.kubernetes.io/last-applied-configuration": `{"stringData":{"password":"in the clear"}}`,
		},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
	}}
	kept, err := Trim(secret)
	if err != nil {
		t.Fatal(err)
	}
	want := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: "team-a", Name: "alice", UID: "a", ResourceVersion: "5",
	}}
	if !equality.Semantic.DeepEqual(kept, want) {
		t.Errorf("kept %+v", kept)
	}

	secret.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "ShardingUser", Name: "alice", UID: "u", Controller: new(true),
	}}
	want.OwnerReferences = []metav1.OwnerReference{{UID: "u", Controller: new(true)}}
	if kept, err := Trim(secret); err != nil || !equality.Semantic.DeepEqual(kept, want) {
		t.Errorf("of a Secret that a user owns was kept %+v (%v)", kept, err)
	}
	secret.OwnerReferences[0].Kind, want.OwnerReferences = "ExternalSecret", nil
	if kept, err := Trim(secret); err != nil || !equality.Semantic.DeepEqual(kept, want) {
		t.Errorf("of a Secret that another program owns was kept %+v (%v)", kept, err)
	}

	u := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{
		UID: "a", ResourceVersion: "1", Generation: 1, Finalizers: []string{v1alpha1.Finalizer},
	}}
	u.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"}
	u.Spec = v1alpha1.ShardingUserSpec{Roles: []v1alpha1.Role{"viewer", "admin"}, Password: &v1alpha1.PasswordSource{
		SecretRef: v1alpha1.SecretKeyReference{Name: "alice", Key: "password"}, Format: v1alpha1.PasswordFormatPlain,
	}}
	u.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Synced", Message: "It is."}}
	before := u.DeepCopy()
	u.ManagedFields = secret.ManagedFields
	u.Annotations["kubectl.kubernetes.io/last-applied-configuration"] = "{}"
	if _, err := Trim(u); err != nil || !equality.Semantic.DeepEqual(u, before) {
		t.Errorf("of a user was kept %+v (%v)", u, err)
	}
}
