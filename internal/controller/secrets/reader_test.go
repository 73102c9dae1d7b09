// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestAnAnswerToASecretIsReportedByItsReasonAlone(t *testing.T) {
	secrets := schema.GroupResource{Resource: "secrets"}
	for want, err := range map[string]error{
		"InternalError": apierrors.NewInternalError(errors.New("a webhook did not like c4n4ry")),
		"Timeout":       apierrors.NewTimeoutError("c4n4ry", 1),
		"Forbidden":     apierrors.NewForbidden(secrets, "alice", errors.New("c4n4ry")),
		"refused":       errors.New("dial tcp: connection refused"),
	} {
		if got := withoutText(err).Error(); !strings.Contains(got, want) || strings.Contains(got, "c4n4ry") {
			t.Errorf("%v is told as %q", err, got)
		}
	}
}
