// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// appliedFrom is an account whose password was applied from this value of a Secret.
func appliedFrom(value user.SecretValue) observedOption {
	return func(o *user.Observed) { o.Ownership.PasswordVersion = value.Version() }
}

func TestSecretVersionIsOfThePasswordInTheRow(t *testing.T) {
	t.Parallel()
	value := user.SecretValue{UID: "4b1c", ResourceVersion: "4711", Key: "pass.word_1", Format: "Plain"}
	ofPolicy := value
	ofPolicy.MinLength = 20
	newer := value
	newer.ResourceVersion = "4712"
	for name, tt := range map[string]struct {
		desired  user.Desired
		observed user.Observed
		problem  *user.Problem
		want     string
	}{
		"the row has the password of the Secret":   {desired(), synced(appliedFrom(value)), nil, "4711"},
		"a policy asks for a length":               {desired(), synced(appliedFrom(ofPolicy)), nil, "4711"},
		"the Secret has a new value, not yet used": {desired(withSecret(newer.Version())), synced(appliedFrom(value)), nil, "4711"},
		"the Secret is gone":                       {desired(secretMissing), synced(appliedFrom(value)), noSecret, "4711"},
		"an inactive account has a password":       {desired(inactive), synced(appliedFrom(value), rowInactive), nil, "4711"},
		"a paused resource names no Secret":        {desired(paused, withoutPassword), synced(appliedFrom(value)), nil, "4711"},
		"another program wrote the hash":           {desired(), synced(appliedFrom(value), rowHash(alien)), nil, ""},
		"the row has no hash":                      {desired(), synced(appliedFrom(value), rowHash("")), nil, ""},
		"the row is gone":                          {desired(), synced(appliedFrom(value), rowGone), nil, ""},
		"the password is not managed":              {desired(withoutPassword), synced(nothingOfOurs), nil, ""},
		"another resource owns the row":            {desired(), synced(appliedFrom(value), ownedBy(neighbour)), nil, ""},
		"the account was released":                 {desired(), synced(appliedFrom(value), inState(user.Released)), nil, ""},
		"no ownership record":                      {desired(), synced(noRecord), nil, ""},
		"the version is not one of a Secret":       {desired(), synced(), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := fresh()
			before.PasswordSecretVersion = "1" // what an earlier status says does not count
			if got := status(t, before, tt.desired, &tt.observed, tt.problem).PasswordSecretVersion; got != tt.want {
				t.Errorf("the status says %q, want %q", got, tt.want)
			}
		})
	}
}

// Users wait for it, so it is not delayed as counters are.
func TestSecretVersionIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	before, after := fresh(), fresh()
	after.PasswordSecretVersion = "4711"
	if user.AboutAccount(before, after) || !user.Urgent(before, after) {
		t.Error("another version of the Secret can wait")
	}
}
