// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestRequestsAreRetriedUntilTheAPIServerAnswers(t *testing.T) {
	t.Parallel()
	refused := fmt.Errorf("list: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	starting := apierrors.NewServiceUnavailable("starting")
	denied := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "", errors.New("no role"))
	for name, tt := range map[string]struct {
		answers []error // one a request
		want    error
	}{
		"unreachable, then available": {[]error{refused, refused, starting, nil}, nil},
		"unreachable, then denied":    {[]error{refused, denied}, denied},
		"available":                   {[]error{nil}, nil},
		"the list is too old":         {[]error{apierrors.NewResourceExpired("old")}, apierrors.NewResourceExpired("old")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			r := &retrier{kind: "ShardingUser", every: time.Millisecond}
			got, err := retried(t.Context(), r, metav1.ListOptions{}, func(context.Context, metav1.ListOptions) (int, error) {
				asked++
				return asked, tt.answers[asked-1]
			})
			if asked != len(tt.answers) || got != asked {
				t.Errorf("%d requests, the answer is of number %d; want the last of %d", asked, got, len(tt.answers))
			}
			if fmt.Sprint(err) != fmt.Sprint(tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

func TestRetriesEndWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	r := &retrier{kind: "ShardingUser", every: time.Hour}
	_, err := retried(ctx, r, metav1.ListOptions{}, func(context.Context, metav1.ListOptions) (int, error) {
		time.AfterFunc(time.Millisecond, cancel)
		return 0, syscall.ECONNREFUSED
	})
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("error %v, want the last one", err)
	}
}
