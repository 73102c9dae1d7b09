// SPDX-License-Identifier: Apache-2.0

package cli

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// gitOps is the tool that keeps an object as Git has it; empty for none. Each leaves its own mark:
// https://argo-cd.readthedocs.io/en/stable/user-guide/resource_tracking/, https://fluxcd.io/flux/components/kustomize/ and
// https://helm.sh/docs/topics/advanced/.
func gitOps(o client.Object) string {
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	switch {
	case annotations["argocd.argoproj.io/tracking-id"] != "", labels["argocd.argoproj.io/instance"] != "":
		return "Argo CD"
	case labels["kustomize.toolkit.fluxcd.io/name"] != "", labels["helm.toolkit.fluxcd.io/name"] != "":
		return "Flux"
	case annotations["meta.helm.sh/release-name"] != "":
		return "Helm release " + annotations["meta.helm.sh/release-name"]
	}
	return ""
}

// keeper returns the program that would revert a change of a Secret: a controller that owns or marks it, or a GitOps tool; empty
// for none. The operator does not revert a Secret that it generated: its value counts until it expires.
func keeper(o client.Object, u *v1alpha1.ShardingUser) string {
	if owner := metav1.GetControllerOf(o); owner != nil && !metav1.IsControlledBy(o, u) {
		return owner.Kind + " " + owner.Name
	}
	for _, owner := range o.GetOwnerReferences() {
		// These own without the mark of a controller where they are told to.
		if owner.Kind == "ExternalSecret" || owner.Kind == "SealedSecret" || owner.Kind == "VaultStaticSecret" {
			return owner.Kind + " " + owner.Name
		}
	}
	if o.GetLabels()["reconcile.external-secrets.io/managed"] == "true" {
		return "External Secrets Operator"
	}
	return gitOps(o)
}
