// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// generated is a resource whose password the operator generated.
func generated(d *user.Desired) { d.Password.Generated = true }

// aging is a resource that limits the age of its password.
func aging(longest time.Duration) desiredOption {
	return func(d *user.Desired) { d.Password.MaxAge = longest }
}

// The password of synced is a day old.
func TestTheShorterMaximumAgeOfAPasswordCounts(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	for name, tt := range map[string]struct {
		desired user.Desired
		left    time.Duration
		known   bool
	}{
		"no limit":                                    {desired(), 0, false},
		"only the resource limits it":                 {desired(aging(2 * day)), day, true},
		"only the policy limits it":                   {desired(expiring(2 * day)), day, true},
		"the resource's limit is shorter":             {desired(expiring(3*day), aging(2*day)), day, true},
		"the policy's limit is shorter":               {desired(aging(3*day), expiring(2*day)), day, true},
		"a generated password lasts at least an hour": {desired(expiring(time.Second), generated), hour - day, true},
		"another password is limited by the policy":   {desired(expiring(time.Second)), time.Second - day, true},
	} {
		t.Run(name, func(t *testing.T) {
			if left, known := synced().PasswordExpiry(tt.desired); left != tt.left || known != tt.known {
				t.Errorf("PasswordExpiry = %s, %t, want %s, %t", left, known, tt.left, tt.known)
			}
		})
	}
}

func TestPlanOfAnExpiredPassword(t *testing.T) {
	tooOld := aging(time.Hour)
	runPlan(t, map[string]planCase{
		"a generated password is replaced": {
			desired(generated, tooOld), synced(),
			user.Decision{Change: change(user.Update), TakePassword: true, Renew: true},
		},
		"a recent generated password stays": {
			desired(generated, aging(25*time.Hour)), synced(),
			leave(),
		},
		"a password that was not generated stays": {
			desired(tooOld), synced(),
			leave(),
		},
		"a changed Secret is used instead": {
			desired(generated, tooOld, withSecret("v2")), synced(),
			user.Decision{Change: change(user.Update), TakePassword: true},
		},
		"an unusable Secret is not replaced": {
			desired(generated, tooOld, secretMissing), synced(),
			user.Decision{Change: user.Change{Verb: user.Nothing}, Problem: noSecret},
		},
		"it stays while the resource is paused": {
			desired(generated, tooOld, paused), synced(),
			leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
		"it stays if no policy permits the resource": {
			desired(generated, tooOld, refused), synced(suspended),
			user.Decision{Change: user.Change{Verb: user.Nothing}, Problem: notPermitted},
		},
		"it stays if the resource is being deleted": {
			desired(generated, tooOld, deleting), synced(),
			user.Decision{Change: change(user.Delete)},
		},
	})
}

func TestPasswordExpiredNamesTheSourceOfTheMaximumAge(t *testing.T) {
	account := synced()
	for want, d := range map[string]user.Desired{
		"older than the 1h0m0s that spec.password.maxAge allows":          desired(aging(time.Hour), expiring(2*time.Hour)),
		"older than the 2h0m0s that ShardingUserPolicy \"team-a\" allows": desired(aging(3*time.Hour), expiring(2*time.Hour)),
	} {
		got := status(t, fresh(), d, &account, nil)
		if text := golden(got); !strings.Contains(text, v1alpha1.ConditionPasswordExpired) || !strings.Contains(text, want) {
			t.Errorf("want a condition with %s, got\n%s", want, text)
		}
	}
}
