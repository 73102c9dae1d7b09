// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

func TestWhatIsAskedForBeforeAPasswordIsSet(t *testing.T) {
	there := func(data map[string][]byte) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "alice-password", UID: "1"}, Data: data}
	}
	missing := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}
	for name, tt := range map[string]struct {
		user   *v1alpha1.ShardingUser
		secret *corev1.Secret
		asks   []string // a part of each question
	}{
		"nothing where all is as one expects":             {aUser(withSecret(v1alpha1.PasswordFormatPlain)), missing, nil},
		"whether another program is to lose the password": {aUser(), missing, []string{"no spec.password"}},
		"and whether a Secret that is there is for that": {
			aUser(), there(map[string][]byte{"password": []byte("of a database")}), []string{"no spec.password", "would be lost"},
		},
		"but not of one with other keys": {aUser(), there(map[string][]byte{"other": nil}), []string{"no spec.password"}},
		"whether the operator is not to make the password after all": {
			aUser(withSecret(v1alpha1.PasswordFormatPlain), generates), missing, []string{"never replaces"},
		},
		"nothing where it made it": {aUser(withSecret(v1alpha1.PasswordFormatPlain), generates), there(nil), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := unexpected(tt.user, passwordSource(tt.user), tt.secret)
			if len(got) != len(tt.asks) {
				t.Fatalf("it asks %q, want %q", got, tt.asks)
			}
			for i, want := range tt.asks {
				if !strings.Contains(got[i], want) {
					t.Errorf("it asks %q, want %q", got[i], want)
				}
			}
		})
	}
}

func TestWhoIsWaitedForInVainCanBeBrokenOff(t *testing.T) {
	never, writer := io.Pipe()
	t.Cleanup(func() { _ = writer.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	p := passwordSetter{env: &env{In: never}, stdin: true}
	cancel()
	if _, err := p.password(ctx, "alice"); !errors.Is(err, context.Canceled) {
		t.Errorf("password = %v", err)
	}
}
