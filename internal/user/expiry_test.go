// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// generated is a resource whose password the operator made.
func generated(d *user.Desired) { d.Password.Generated = true }

// aging is a resource that lets its password become so old.
func aging(longest time.Duration) desiredOption {
	return func(d *user.Desired) { d.Password.MaxAge = longest }
}

// The password of synced is a day old.
func TestAgeOfAPasswordIsLimitedByTheShorterOfTwoAges(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	for name, tt := range map[string]struct {
		desired user.Desired
		left    time.Duration
		known   bool
	}{
		"nobody limits it":                                {desired(), 0, false},
		"the resource does":                               {desired(aging(2 * day)), day, true},
		"the policy does":                                 {desired(expiring(2 * day)), day, true},
		"the resource's is shorter":                       {desired(expiring(3*day), aging(2*day)), day, true},
		"the policy's is shorter":                         {desired(aging(3*day), expiring(2*day)), day, true},
		"a generated one lives an hour, whatever it says": {desired(expiring(time.Second), generated), hour - day, true},
		"any other one is told of as the policy wants":    {desired(expiring(time.Second)), time.Second - day, true},
	} {
		t.Run(name, func(t *testing.T) {
			if left, known := synced().PasswordExpiry(tt.desired); left != tt.left || known != tt.known {
				t.Errorf("PasswordExpiry = %s, %t, want %s, %t", left, known, tt.left, tt.known)
			}
		})
	}
}

func TestPlanOfAPasswordThatIsTooOld(t *testing.T) {
	tooOld := aging(time.Hour)
	runPlan(t, map[string]planCase{
		"a generated one is renewed": {
			desired(generated, tooOld), synced(),
			user.Decision{Change: change(user.Update), TakePassword: true, Renew: true},
		},
		"a generated one that is young enough is not": {
			desired(generated, aging(25*time.Hour)), synced(),
			leave(),
		},
		"one that somebody gave stays": {
			desired(tooOld), synced(),
			leave(),
		},
		"a Secret that has another one by now is taken as it is": {
			desired(generated, tooOld, withSecret("v2")), synced(),
			user.Decision{Change: change(user.Update), TakePassword: true},
		},
		"a Secret that yields none is not renewed": {
			desired(generated, tooOld, secretMissing), synced(),
			user.Decision{Change: user.Change{Verb: user.Nothing}, Problem: noSecret},
		},
		"nobody renews it while the resource is paused": {
			desired(generated, tooOld, paused), synced(),
			leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
		"nobody renews what no policy permits": {
			desired(generated, tooOld, refused), synced(suspended),
			user.Decision{Change: user.Change{Verb: user.Nothing}, Problem: notPermitted},
		},
		"nobody renews what is on its way out": {
			desired(generated, tooOld, deleting), synced(),
			user.Decision{Change: change(user.Delete)},
		},
	})
}

func TestWhoLetsThePasswordBecomeSoOldIsNamed(t *testing.T) {
	account := synced()
	for want, d := range map[string]user.Desired{
		"older than the 1h0m0s that spec.password.maxAge allows":          desired(aging(time.Hour), expiring(2*time.Hour)),
		"older than the 2h0m0s that ShardingUserPolicy \"team-a\" allows": desired(aging(3*time.Hour), expiring(2*time.Hour)),
	} {
		got := status(t, fresh(), d, &account, nil)
		if text := golden(got); !strings.Contains(text, v1alpha1.ConditionPasswordExpired) || !strings.Contains(text, want) {
			t.Errorf("want a condition that says %s, got\n%s", want, text)
		}
	}
}
