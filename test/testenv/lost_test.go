// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func TestKilledControlPlaneRestartsWithItsData(t *testing.T) {
	plane, err := StartControlPlane(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	api := kubernetes.NewForConfigOrDie(plane.Config()).CoreV1().Namespaces()
	kept := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}
	for range 2 {
		if _, err := api.Create(t.Context(), kept, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := plane.Kill(t.Context(), "kube-apiserver", "etcd"); err != nil {
			t.Fatal(err)
		}
		if _, err := api.Get(t.Context(), "kept", metav1.GetOptions{}); err == nil {
			t.Error("the API server answers after Kill")
		}
		if err := plane.Restart(t.Context(), "etcd", "kube-apiserver"); err != nil {
			t.Fatal(err)
		}
		if _, err := api.Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
			t.Fatal(err)
		}
		kept.Name = "kept-too"
	}
}
