// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the first version of the sharding.io API: the accounts of a sharding system as Kubernetes
// resources.
//
// +kubebuilder:object:generate=true
// +groupName=sharding.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of every kind in this package.
var GroupVersion = schema.GroupVersion{Group: "sharding.io", Version: "v1alpha1"}

// SchemeBuilder collects what AddToScheme registers.
var SchemeBuilder = runtime.NewSchemeBuilder(func(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &ShardingUser{}, &ShardingUserList{}, &ShardingUserPolicy{}, &ShardingUserPolicyList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
})

// AddToScheme registers the kinds of this package in a scheme.
var AddToScheme = SchemeBuilder.AddToScheme
