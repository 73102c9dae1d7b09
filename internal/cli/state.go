// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// state is how a user is, at a glance: why it is not as it should be, first of all, and then what keeps it from logging in.
func state(u *v1alpha1.ShardingUser) string {
	var parts []string
	add := func(part string) { parts = append(parts, part) }
	ready := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
	current := ready != nil && u.Status.ObservedGeneration == u.Generation && ready.ObservedGeneration == u.Generation
	switch {
	case !u.DeletionTimestamp.IsZero():
		add("Terminating")
	case u.Annotations[v1alpha1.AnnotationPaused] == "true":
		add("Paused")
	case !current:
		add("Pending")
	case ready.Status != metav1.ConditionTrue:
		add("NotReady: " + ready.Reason)
	}
	if u.Status.Locked {
		lock := "Locked"
		if until := u.Status.LockedUntil; until != nil {
			lock += " until " + until.UTC().Format(time.RFC3339)
		}
		add(lock)
	}
	if u.Status.Expired {
		add("Expired")
	}
	if u.Spec.Active != nil && !*u.Spec.Active {
		add("Inactive")
	}
	if len(parts) == 0 {
		return "Ready"
	}
	return strings.Join(parts, ", ")
}

// warnings are what a user had better be rid of, though it works.
func warnings(u *v1alpha1.ShardingUser) (warnings []string) {
	for _, condition := range []string{
		v1alpha1.ConditionWeakPassword, v1alpha1.ConditionPasswordSuspicious, v1alpha1.ConditionPasswordExpired,
	} {
		if meta.IsStatusConditionTrue(u.Status.Conditions, condition) {
			warnings = append(warnings, condition)
		}
	}
	return warnings
}
