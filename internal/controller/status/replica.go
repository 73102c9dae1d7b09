// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
)

// Reasons of the Events about a replica's pod.
const (
	EventFallbackBegan = "FallbackBegan"
	EventFallbackEnded = "FallbackEnded"
)

// Replica is the pod that this process runs in. Outside a cluster there is none of that name, and Events are made all the
// same.
type Replica struct {
	Namespace, Name string
	UID             string // "" where it is not known
}

// pod is the object that Events about the replica are about.
func (r Replica) pod() *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Name, UID: types.UID(r.UID)},
	}
}

// Announcer returns what tells people, by an Event about the replica, that it began to decide log-ins from memory, or
// ended to.
func Announcer(mgr ctrl.Manager, r Replica) func(ctx context.Context, active bool) {
	events := mgr.GetEventRecorder("shardinguser-operator")
	pod := r.pod()
	return func(_ context.Context, active bool) {
		if active {
			events.Eventf(pod, nil, corev1.EventTypeWarning, EventFallbackBegan, "DecideLogIns",
				"The database is away: log-ins are decided from memory.")
			return
		}
		events.Eventf(pod, nil, corev1.EventTypeNormal, EventFallbackEnded, "DecideLogIns",
			"The database is back: log-ins are decided by it, and what happened meanwhile was merged.")
	}
}
