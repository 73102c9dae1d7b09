// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

func TestWhoKeepsASecret(t *testing.T) {
	owned := func(kind string, controller *bool) metav1.ObjectMeta {
		return metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{Kind: kind, Name: "a", Controller: controller}}}
	}
	labelled := func(name, value string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Labels: map[string]string{name: value}}
	}
	annotated := func(name, value string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Annotations: map[string]string{name: value}}
	}
	alice := aUser(func(u *v1alpha1.ShardingUser) { u.UID = "1" })
	made := func(uid types.UID) metav1.ObjectMeta {
		return metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{Kind: "ShardingUser", Name: "alice", UID: uid, Controller: new(true)}}}
	}
	for name, tt := range map[string]struct {
		metadata metav1.ObjectMeta
		want     string
	}{
		"none without a mark":                         {metav1.ObjectMeta{}, ""},
		"its controller, whatever that is":            {owned("Something", new(true)), "Something a"},
		"not the operator, that made it for the user": {made("1"), ""},
		"but that of another user, or an earlier one": {made("2"), "ShardingUser alice"},
		"not an owner that only cleans up after it":   {owned("ConfigMap", nil), ""},
		"External Secrets, by its owner":              {owned("ExternalSecret", nil), "ExternalSecret a"},
		"External Secrets, that only merges into it":  {labelled("reconcile.external-secrets.io/managed", "true"), "External Secrets Operator"},
		"Sealed Secrets":                              {owned("SealedSecret", new(true)), "SealedSecret a"},
		"Argo CD, by annotation":                      {annotated("argocd.argoproj.io/tracking-id", "x"), "Argo CD"},
		"Argo CD, by label":                           {labelled("argocd.argoproj.io/instance", "x"), "Argo CD"},
		"Flux":                                        {labelled("kustomize.toolkit.fluxcd.io/name", "x"), "Flux"},
		"Helm":                                        {annotated("meta.helm.sh/release-name", "x"), "Helm release x"},
		"none by the label of another program":        {labelled("app", "x"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := keeper(&corev1.Secret{ObjectMeta: tt.metadata}, alice); got != tt.want {
				t.Errorf("keeper = %q, want %q", got, tt.want)
			}
		})
	}
}
