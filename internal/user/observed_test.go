// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestFromResource(t *testing.T) {
	resource := func(change func(*v1alpha1.ShardingUser)) *v1alpha1.ShardingUser {
		u := &v1alpha1.ShardingUser{
			ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "alice", UID: "uid-1", Generation: 3},
			Spec: v1alpha1.ShardingUserSpec{
				Roles:          []v1alpha1.Role{"operator"},
				Active:         ptrTo(true),
				Password:       &v1alpha1.PasswordSource{SecretRef: v1alpha1.SecretKeyReference{Name: "s", Key: "k"}},
				AdoptionPolicy: v1alpha1.AdoptionNever,
				DeletionPolicy: v1alpha1.DeletionDelete,
			},
		}
		change(u)
		return u
	}
	annotated := func(key, value string) func(*v1alpha1.ShardingUser) {
		return func(u *v1alpha1.ShardingUser) { u.Annotations = map[string]string{key: value} }
	}
	// The caller determines the version of the Secret.
	unread := withSecret("")

	for name, tt := range map[string]struct {
		resource *v1alpha1.ShardingUser
		want     user.Desired
	}{
		"the resource's name is the username if the spec has none": {
			resource(func(*v1alpha1.ShardingUser) {}),
			desired(unread),
		},
		"the spec's username precedes the name, byte for byte": {
			resource(func(u *v1alpha1.ShardingUser) { u.Spec.Username = "Alice@Example.com" }),
			desired(unread, func(d *user.Desired) { d.Username = "Alice@Example.com" }),
		},
		"an empty spec is an active user without roles or password": {
			resource(func(u *v1alpha1.ShardingUser) { u.Spec = v1alpha1.ShardingUserSpec{} }),
			desired(withoutPassword, withRoles([]string{}...), withPolicy(""), func(d *user.Desired) { d.Adoption = "" }),
		},
		"active: false is inactive": {
			resource(func(u *v1alpha1.ShardingUser) { u.Spec.Active = ptrTo(false) }),
			desired(unread, inactive),
		},
		"adoption and deletion policies are copied": {
			resource(func(u *v1alpha1.ShardingUser) {
				u.Spec.AdoptionPolicy, u.Spec.DeletionPolicy = v1alpha1.AdoptionIfUnowned, v1alpha1.DeletionRetain
			}),
			desired(unread, adopting, withPolicy(v1alpha1.DeletionRetain)),
		},
		"a deletion timestamp is a deletion": {
			resource(func(u *v1alpha1.ShardingUser) { u.DeletionTimestamp = &metav1.Time{Time: now} }),
			desired(unread, deleting),
		},
		"paused is paused": {
			resource(annotated(v1alpha1.AnnotationPaused, "true")),
			desired(unread, paused),
		},
		"other values than true do not pause": {
			resource(annotated(v1alpha1.AnnotationPaused, "True")),
			desired(unread),
		},
		"an annotation allows removing the last administrator": {
			resource(annotated(v1alpha1.AnnotationAllowLastAdministrator, "true")),
			desired(unread, unprotected),
		},
		"other values than true keep the last administrator": {
			resource(annotated(v1alpha1.AnnotationAllowLastAdministrator, "yes")),
			desired(unread),
		},
		"any value is an unlock request": {
			resource(annotated(v1alpha1.AnnotationUnlockRequestedAt, " please ")),
			desired(unread, requestUnlock(" please ")),
		},
		"a NUL in an unlock request is replaced": {
			resource(annotated(v1alpha1.AnnotationUnlockRequestedAt, "a\x00b\x00")),
			desired(unread, requestUnlock("a\uFFFDb\uFFFD")),
		},
		"an empty value is no unlock request": {
			resource(annotated(v1alpha1.AnnotationUnlockRequestedAt, "")),
			desired(unread),
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := image(t, tt.resource)
			got := user.FromResource("cluster-1", tt.resource)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("the resource asks for something else (-want +got):\n%s", diff)
			}
			scribble(got.Roles)
			if after := image(t, tt.resource); before != after {
				t.Errorf("FromResource changed its input, or shares it:\nbefore %s\nafter  %s", before, after)
			}
		})
	}
}

func TestSucceeds(t *testing.T) {
	for name, tt := range map[string]struct {
		former user.Owner
		want   bool
	}{
		"another resource of the same name is succeeded":      {predecessor, true},
		"a resource does not succeed itself":                  {alice, false},
		"a resource of another namespace is not succeeded":    {neighbour, false},
		"the same name in another cluster is not succeeded":   {twin, false},
		"the same name in another system is not succeeded":    {ordered, false},
		"another name of the same namespace is not succeeded": {user.Owner{Cluster: "cluster-1", Namespace: "team-a", Name: "bob", UID: "uid-5"}, false},
		"the same UID with another name is not succeeded":     {user.Owner{Cluster: "cluster-1", Namespace: "team-b", Name: "alice", UID: "uid-1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := alice.Succeeds(tt.former); got != tt.want {
				t.Errorf("Succeeds(%+v) = %t, want %t", tt.former, got, tt.want)
			}
		})
	}
}

func TestLockLeft(t *testing.T) {
	for name, tt := range map[string]struct {
		observed user.Observed
		want     time.Duration
	}{
		"a current lock has time left":                          {synced(lockedFor(15 * time.Minute)), 15 * time.Minute},
		"the last nanosecond of a lock counts":                  {synced(lockedFor(1)), 1},
		"a lock beyond the range of a duration is cut":          {synced(lockedUntil(9999)), math.MaxInt64},
		"a lock that ends now has ended":                        {synced(lockedFor(0)), 0},
		"a lock that ended has nothing left":                    {synced(lockedFor(-time.Hour)), 0},
		"no lock has nothing left":                              {synced(failed(4)), 0},
		"no row has no lock":                                    {nothingThere(), 0},
		"a lock in another time zone is compared by its moment": {synced(lockedFor(time.Minute), inTokyo), time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.observed.LockLeft(); got != tt.want {
				t.Errorf("LockLeft = %v, want %v", got, tt.want)
			}
			if got := tt.observed.Locked(); got != (tt.want > 0) {
				t.Errorf("Locked = %t, want %t", got, tt.want > 0)
			}
		})
	}
}

func TestNextLockChange(t *testing.T) {
	for name, tt := range map[string]struct {
		observed user.Observed
		pending  bool
		want     time.Duration
	}{
		"no lock changes by itself":               {synced(failed(4)), false, 0},
		"no row has no lock":                      {nothingThere(), false, 0},
		"a lock expires":                          {synced(lockedFor(time.Minute)), false, time.Minute},
		"a pending lock becomes effective":        {synced(lockedFor(time.Minute), pendingFor(time.Second)), true, time.Second},
		"the last nanosecond of a wait counts":    {synced(lockedFor(time.Minute), pendingFor(1)), true, 1},
		"a wait that ends now has ended":          {synced(lockedFor(time.Minute), pendingFor(0)), false, time.Minute},
		"an ended wait does not count":            {synced(lockedFor(time.Minute), pendingFor(-time.Hour)), false, time.Minute},
		"a pending lock can expire first":         {synced(lockedFor(time.Second), pendingFor(time.Minute)), true, time.Second},
		"an expired pending lock does not change": {synced(lockedFor(-time.Second), pendingFor(time.Minute)), false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.observed.NextLockChange(); got != tt.want {
				t.Errorf("NextLockChange = %v, want %v", got, tt.want)
			}
			if got := tt.observed.LockPending(); got != tt.pending {
				t.Errorf("LockPending = %t, want %t", got, tt.pending)
			}
		})
	}
}

// lockedUntil locks the row until the beginning of a year.
func lockedUntil(year int) observedOption {
	return func(o *user.Observed) {
		o.Row.LockedUntil = ptrTo(time.Date(year, time.January, 1, 0, 0, 0, 0, time.UTC))
	}
}

// inTokyo returns the row's times as a session in Tokyo would.
func inTokyo(o *user.Observed) {
	zone := time.FixedZone("Asia/Tokyo", 9*60*60)
	for _, at := range []*time.Time{o.Row.LockedUntil, o.Row.LastLogin} {
		if at != nil {
			*at = at.In(zone)
		}
	}
}

func TestPasswordInForce(t *testing.T) {
	for name, tt := range map[string]struct {
		observed    user.Observed
		wantHash    string
		wantVersion string
	}{
		"an owned row has the applied hash":                           {synced(), hashV1, "v1"},
		"another program's hash in an owned row is not in force":      {synced(rowHash(alien)), hashV1, "v1"},
		"a deleted row has the applied hash":                          {synced(rowGone), hashV1, "v1"},
		"without an applied hash the row's hash counts":               {synced(nothingOfOurs, rowHash(alien)), alien, ""},
		"without an applied hash and a row there is none":             {synced(nothingOfOurs, rowGone), "", ""},
		"an unowned row has its own hash":                             {synced(noRecord, rowHash(alien)), alien, ""},
		"the hash of another owner does not count":                    {synced(ownedBy(neighbour), rowHash(alien)), alien, ""},
		"the hash of a predecessor does not count":                    {synced(ownedBy(predecessor), rowHash(alien)), alien, ""},
		"the hash of a released row does not count":                   {synced(inState(user.Released), rowHash(alien)), alien, ""},
		"the hash of a tombstone does not count":                      {synced(inState(user.Deleted), rowGone), "", ""},
		"an unused username has none":                                 {nothingThere(), "", ""},
		"an unowned row whose hash is NULL has none":                  {synced(noRecord, rowHash("")), "", ""},
		"an owned row whose hash became NULL has the recorded hash":   {synced(rowHash("")), hashV1, "v1"},
		"the hash of the same name in another cluster does not count": {synced(ownedBy(twin), rowHash(alien)), alien, ""},
		"an unowned row with an unusable password has that one":       {synced(nothingOfOurs, rowHash(user.UnusablePassword)), user.UnusablePassword, ""},
		"another owner's deleted row has none":                        {synced(ownedBy(neighbour), rowGone), "", ""},
		"an owner without a row and an owned record has none":         {synced(inState(user.Released), rowGone), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.observed.PasswordInForce(alice); got != tt.wantHash {
				t.Errorf("PasswordInForce = %q, want %q", got, tt.wantHash)
			}
			if got := tt.observed.PasswordVersion(alice); got != tt.wantVersion {
				t.Errorf("PasswordVersion = %q, want %q", got, tt.wantVersion)
			}
		})
	}
}
