// SPDX-License-Identifier: Apache-2.0

package status

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

// Replica is the pod that this process runs in. Outside a cluster there is no such pod, and Events are still created.
type Replica struct {
	Namespace, Name string
	UID             string // "" where it is not known
}

// Pod returns the object of Events about the replica.
func (r Replica) Pod() *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Name, UID: types.UID(r.UID)},
	}
}

// Announcer returns a function that reports, by an Event about the replica, that the fallback began or ended.
func Announcer(mgr ctrl.Manager, r Replica) func(ctx context.Context, active bool) {
	events := mgr.GetEventRecorder("shardinguser-operator")
	pod := r.Pod()
	return func(_ context.Context, active bool) {
		if active {
			events.Eventf(pod, nil, corev1.EventTypeWarning, EventFallbackBegan, "DecideLogins",
				"The database is unavailable: logins continue from the account cache.")
			return
		}
		events.Eventf(pod, nil, corev1.EventTypeNormal, EventFallbackEnded, "DecideLogins",
			"The database is available again: it decides logins, and the attempts of the fallback were merged.")
	}
}
