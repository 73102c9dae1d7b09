// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// endingNamespaces is a log sink that logs some errors as details (V(1)): those of creating an object, such as an Event, in a
// namespace that is being terminated or is gone.
type endingNamespaces struct{ logr.LogSink }

// withEndingNamespaces returns the logger with an endingNamespaces sink.
func withEndingNamespaces(log logr.Logger) logr.Logger {
	return log.WithSink(endingNamespaces{log.GetSink()})
}

func (s endingNamespaces) Error(err error, message string, keysAndValues ...any) {
	if !isOfEndingNamespace(err) {
		s.LogSink.Error(err, message, keysAndValues...)
		return
	}
	if s.Enabled(1) {
		s.Info(1, message, append(keysAndValues, "reason", err.Error())...)
	}
}

func (s endingNamespaces) WithValues(keysAndValues ...any) logr.LogSink {
	return endingNamespaces{s.LogSink.WithValues(keysAndValues...)}
}

func (s endingNamespaces) WithName(name string) logr.LogSink {
	return endingNamespaces{s.LogSink.WithName(name)}
}

// isOfEndingNamespace reports whether the API server refused a request because the namespace is being terminated or is gone.
func isOfEndingNamespace(err error) bool {
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return true
	}
	var answer apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &answer) {
		return false
	}
	details := answer.Status().Details
	return details != nil && details.Kind == "namespaces"
}
