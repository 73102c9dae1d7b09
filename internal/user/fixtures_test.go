// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"encoding/json"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// The account of these tests is alice of team-a, an active operator whose password comes from version v1 of a Secret.
// Options change it. When it is in sync, the generation is 3 and the revision of the record 7.

const (
	hashV1 = "$2a$10$hash-of-v1"
	hashV2 = "$2a$10$hash-of-v2"
	alien  = "$2a$10$hash-of-another-program"
)

// now is the database's clock.
var now = time.Date(2026, time.March, 4, 12, 0, 0, 0, time.UTC)

var (
	alice = user.Owner{Cluster: "cluster-1", Namespace: "team-a", Name: "alice", UID: "uid-1"}

	// predecessor had alice's namespace and name before.
	predecessor = user.Owner{Cluster: "cluster-1", Namespace: "team-a", Name: "alice", UID: "uid-0"}

	// neighbour asks for the same username in another namespace.
	neighbour = user.Owner{Cluster: "cluster-1", Namespace: "team-b", Name: "alice", UID: "uid-9"}

	// twin has alice's namespace and name in another cluster.
	twin = user.Owner{Cluster: "cluster-2", Namespace: "team-a", Name: "alice", UID: "uid-8"}

	// ordered had alice's namespace and name in the system orders.
	ordered = user.Owner{Cluster: "cluster-1", System: "orders", Namespace: "team-a", Name: "alice", UID: "uid-7"}
)

type desiredOption func(*user.Desired)

func desired(options ...desiredOption) user.Desired {
	d := user.Desired{
		Owner:      alice,
		Generation: 3,
		Username:   "alice",
		Roles:      []string{"operator"},
		Active:     true,
		Password:   user.Password{Managed: true, Version: "v1"},
		Adoption:   v1alpha1.AdoptionNever,
		Deletion:   v1alpha1.DeletionDelete,
	}
	for _, option := range options {
		option(&d)
	}
	return d
}

func deleting(d *user.Desired) { d.Deleting = true }
func inSystem(system string) desiredOption {
	return func(d *user.Desired) { d.Owner.System = system }
}

func paused(d *user.Desired)    { d.Paused = true }
func inactive(d *user.Desired)  { d.Active = false }
func adopting(d *user.Desired)  { d.Adoption = v1alpha1.AdoptionIfUnowned }
func edited(d *user.Desired)    { d.Generation = 4 }
func outOfDate(d *user.Desired) { d.Generation = 2 }

func withoutPassword(d *user.Desired) { d.Password = user.Password{} }

func withRoles(roles ...string) desiredOption {
	return func(d *user.Desired) { d.Roles = roles }
}

func withSecret(version string) desiredOption {
	return func(d *user.Desired) { d.Password.Version = version }
}

func withPolicy(policy v1alpha1.DeletionPolicy) desiredOption {
	return func(d *user.Desired) { d.Deletion = policy }
}

func requestUnlock(request string) desiredOption {
	return func(d *user.Desired) { d.Unlock = request }
}

var noSecret = &user.Problem{Reason: v1alpha1.ReasonSecretNotFound, Message: "There is no Secret."}

func secretMissing(d *user.Desired) {
	d.Password.Version, d.Password.Problem = "", &user.Problem{Reason: noSecret.Reason, Message: noSecret.Message}
}

// notPermitted is why no policy permits alice.
var notPermitted = &user.Problem{Reason: v1alpha1.ReasonNotPermitted, Message: "No policy permits alice."}

func refused(d *user.Desired) {
	d.Permission = user.Permission{Refusal: &user.Problem{Reason: notPermitted.Reason, Message: notPermitted.Message}}
}

// strict and lax are terms of policies.
var (
	strict = user.Lockout{Attempts: 3, Duration: time.Hour, Longest: 24 * time.Hour}
	lax    = user.Lockout{Exempt: true}
)

// permitted is a resource that the policy team-a permits, on these terms.
func permitted(terms user.Lockout) desiredOption {
	return func(d *user.Desired) { d.Permission = user.Permission{By: "team-a", Terms: user.Terms{Lockout: terms}} }
}

// expiring is a resource whose policy limits the age of passwords.
func expiring(longest time.Duration) desiredOption {
	return func(d *user.Desired) {
		d.Permission = user.Permission{By: "team-a", Terms: user.Terms{MaxPasswordAge: longest}}
	}
}

func protecting(roles ...string) desiredOption {
	return func(d *user.Desired) { d.Protected = roles }
}

func unprotected(d *user.Desired) { d.Unprotected = true }

type observedOption func(*user.Observed)

// synced is the account after desired() has been applied.
func synced(options ...observedOption) user.Observed {
	changed := now.Add(-24 * time.Hour)
	o := user.Observed{
		Now: now,
		Row: &user.Row{PasswordHash: hashV1, Roles: []string{"operator"}, Active: true},
		Ownership: &user.Ownership{
			Owner:             alice,
			State:             user.Owned,
			Generation:        3,
			Revision:          7,
			Deletion:          v1alpha1.DeletionDelete,
			PasswordVersion:   "v1",
			PasswordHash:      hashV1,
			PasswordChangedAt: &changed,
		},
	}
	for _, option := range options {
		option(&o)
	}
	return o
}

// nothingThere is a username without row and record.
func nothingThere() user.Observed { return user.Observed{Now: now} }

func rowGone(o *user.Observed)  { o.Row = nil }
func noRecord(o *user.Observed) { o.Ownership = nil }
func rowInactive(o *user.Observed) {
	o.Row.Active, o.Row.PasswordHash = false, user.DisabledHash(o.Row.PasswordHash)
}

// rowEnabled is a row with a usable hash that another program, or an older version of the operator, deactivated.
func rowEnabled(o *user.Observed) { o.Row.Active = false }

func rowMalformed(o *user.Observed) { o.Row.Roles, o.Row.RolesMalformed = nil, true }

func rowRoles(roles ...string) observedOption {
	return func(o *user.Observed) { o.Row.Roles = roles }
}

func rowHash(hash string) observedOption {
	return func(o *user.Observed) { o.Row.PasswordHash = hash }
}

// lockedFor locks the row until the given time after (or before) now.
func lockedFor(left time.Duration) observedOption {
	return func(o *user.Observed) {
		until := o.Now.Add(left)
		o.Row.LockedUntil, o.Row.FailedLoginAttempts = &until, 5
	}
}

// pendingFor makes the lock pending until the given time after (or before) now.
func pendingFor(left time.Duration) observedOption {
	return func(o *user.Observed) { o.Row.LockPendingUntil = ptrTo(o.Now.Add(left)) }
}

func failed(attempts int) observedOption {
	return func(o *user.Observed) { o.Row.FailedLoginAttempts = attempts }
}

func loggedIn(ago time.Duration) observedOption {
	return func(o *user.Observed) {
		at := o.Now.Add(-ago)
		o.Row.LastLogin = &at
	}
}

func ownedBy(owner user.Owner) observedOption {
	return func(o *user.Observed) { o.Ownership.Owner = owner }
}

func inState(state user.OwnershipState) observedOption {
	return func(o *user.Observed) { o.Ownership.State = state }
}

func recordedPolicy(policy v1alpha1.DeletionPolicy) observedOption {
	return func(o *user.Observed) { o.Ownership.Deletion = policy }
}

func recordedGeneration(generation int64) observedOption {
	return func(o *user.Observed) { o.Ownership.Generation = generation }
}

func unlockHandled(request string) observedOption {
	return func(o *user.Observed) { o.Ownership.UnlockHandled = request }
}

func weak(o *user.Observed) { o.Ownership.PasswordWeak = true }

func suspected(of user.Suspicions) func(*user.Observed) {
	return func(o *user.Observed) { o.Ownership.PasswordSuspicion = of }
}

func unjudged(o *user.Observed) { o.Ownership.PasswordUnchecked = true }

// suspended is a row that is inactive because no policy permitted its owner.
func suspended(o *user.Observed) {
	o.Ownership.Suspended = true
	if o.Row != nil {
		rowInactive(o)
	}
}

func notedTerms(terms user.Lockout) observedOption {
	return func(o *user.Observed) { o.Ownership.Lockout = terms }
}

// nothingOfOurs is a record without a managed password.
func nothingOfOurs(o *user.Observed) {
	o.Ownership.PasswordVersion, o.Ownership.PasswordHash, o.Ownership.PasswordChangedAt = "", "", nil
}

// plan calls user.Plan and checks what always holds: equal input gives equal decisions, no input is changed, and the
// decision shares nothing with the input.
func plan(t rapid.TB, d user.Desired, o user.Observed) user.Decision {
	t.Helper()
	before := image(t, d, o)
	decision := user.Plan(d, o)
	again := user.Plan(d, o)
	if diff := cmp.Diff(decision, again); diff != "" {
		t.Errorf("the same input was decided in two ways (-first +second):\n%s", diff)
	}
	scribble(again.Change.Roles)
	scribble(again.Change.Write)
	scribble(again.Drift)
	if again.Change.Password != nil {
		again.Change.Password.Hash = "scribbled"
	}
	if after := image(t, d, o); before != after {
		t.Errorf("Plan changed its input, or shares it:\nbefore %s\nafter  %s", before, after)
	}
	return decision
}

func scribble[S ~string](list []S) {
	for i := range list {
		list[i] = "scribbled"
	}
}

// image returns everything that the values contain, also behind pointers.
func image(t rapid.TB, values ...any) string {
	t.Helper()
	content, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func ptrTo[T any](value T) *T { return &value }

const (
	deactivate = v1alpha1.DeletionDeactivate
	retain     = v1alpha1.DeletionRetain
)
