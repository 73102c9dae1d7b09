// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// refusing is an empty namespace whose API server rejects all objects, once all of them have arrived.
type refusing struct {
	client.Client
	arrived *sync.WaitGroup
}

func (refusing) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

func (r refusing) Apply(context.Context, runtime.ApplyConfiguration, ...client.ApplyOption) error {
	r.arrived.Done()
	r.arrived.Wait()
	return apierrors.NewForbidden(schema.GroupResource{}, "", nil)
}

// Entries are written concurrently, so the race detector has to run this test.
func TestRejectionsAtTheSameTimeAreAllReported(t *testing.T) {
	entries, want := make([]Entry, 16), make([]string, 16)
	for i := range entries {
		want[i] = fmt.Sprintf("user%02d", i)
		entries[i] = Entry{user: &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Name: want[i]}}}
	}
	arrived := new(sync.WaitGroup)
	arrived.Add(len(entries))
	changes, remarks, err := Cluster{Kube: refusing{arrived: arrived}}.Write(t.Context(), entries)
	if err != nil || len(changes) > 0 {
		t.Fatalf("Write() = %v, error %v, want only remarks", changes, err)
	}
	var got []string
	for _, r := range remarks {
		got = append(got, r.Username)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the remarks are about %v, want %v", got, want)
	}
}
