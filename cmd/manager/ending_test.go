// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestRefusalsOfATerminatingNamespaceAreNoErrors(t *testing.T) {
	t.Parallel()
	events := schema.GroupResource{Resource: "events"}
	refused := apierrors.NewForbidden(events, "alice.1", errors.New("no right"))
	terminating := apierrors.NewForbidden(events, "alice.1", errors.New("it is being terminated"))
	terminating.ErrStatus.Details.Causes = append(terminating.ErrStatus.Details.Causes, metav1.StatusCause{Type: corev1.NamespaceTerminatingCause})
	for name, tt := range map[string]struct {
		err     error
		isError bool
	}{
		"an Event in a namespace that is being terminated": {terminating, false},
		"the same, wrapped":                    {fmt.Errorf("create an Event: %w", terminating), false},
		"an Event in a namespace that is gone": {apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "team-a"), false},
		"a missing permission":                 {refused, true},
		"another missing object":               {apierrors.NewNotFound(events, "alice.1"), true},
		"no answer of the API server":          {errors.New("connection refused"), true},
		"no error":                             {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var lines []string
			log := withEndingNamespaces(funcr.New(func(prefix, args string) { lines = append(lines, prefix+" "+args) }, funcr.Options{}))
			log = log.WithName("events").WithValues("controller", "shardinguser")
			log.Error(tt.err, "Server rejected event (will not retry!)")
			if logged := len(lines) == 1 && strings.Contains(lines[0], "Server rejected event"); logged != tt.isError {
				t.Errorf("the log has %q, want an error: %t", lines, tt.isError)
			}
		})
	}
}

func TestRefusalsOfATerminatingNamespaceAreDetails(t *testing.T) {
	t.Parallel()
	var lines []string
	sink := funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{Verbosity: 1}).GetSink()
	log := withEndingNamespaces(logr.New(sink))
	log.Error(apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "team-a"), "Server rejected event")
	if len(lines) != 1 || !strings.Contains(lines[0], `"level"=1`) || !strings.Contains(lines[0], "team-a") {
		t.Errorf("the log has %q, want one detail with the reason", lines)
	}
}
