// SPDX-License-Identifier: Apache-2.0

package user

import (
	"strings"
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Owner identifies the ShardingUser that owns a row. Several clusters, and several systems of a cluster, may share one table.
type Owner struct {
	Cluster   string // UID of the cluster's kube-system namespace
	System    string // spec.system of the resource; "" is the default system
	Namespace string
	Name      string
	UID       string
}

// Is reports whether both are the same resource. The system of a resource never changes, but an operator that does not know
// systems records the default one.
func (o Owner) Is(other Owner) bool {
	other.System = o.System
	return o == other
}

// Succeeds reports whether o has the cluster, system, namespace and name of former but is another resource. Only one resource
// can have them at a time, so former is gone when o is known to exist. A former resource of another system is left to the
// operator of that system.
func (o Owner) Succeeds(former Owner) bool {
	return o.sameName(former) && o.UID != former.UID
}

func (o Owner) sameName(other Owner) bool {
	return o.Cluster == other.Cluster && o.System == other.System && o.Namespace == other.Namespace && o.Name == other.Name
}

// String returns namespace/name.
func (o Owner) String() string { return o.Namespace + "/" + o.Name }

// Desired is the account that a ShardingUser asks for.
type Desired struct {
	Owner      Owner
	Generation int64 // metadata.generation of the resource
	Username   string
	Roles      []string // a set
	Active     bool
	Password   Password
	Adoption   v1alpha1.AdoptionPolicy
	Deletion   v1alpha1.DeletionPolicy
	Deleting   bool   // the resource is being deleted
	Paused     bool   // the operator changes nothing in the database
	Unlock     string // the unlock request; "" if there is none
	SignOut    string // the sign-out request; "" if there is none
	Permission Permission

	ValidUntil *time.Time    // when the account ends; nil for never
	Lock       *StandingLock // nil if there is none

	// Protected are the roles that at least one active user must hold. Unprotected reports that this resource may take
	// the last one away.
	Protected   []string
	Unprotected bool
}

// Password describes the password that a ShardingUser asks for, without the password itself.
type Password struct {
	// Managed reports whether the resource names a password. If not, the operator does not manage the row's password.
	Managed bool

	// Version identifies the current value of the Secret. It is only compared with the version that was applied last.
	// It is empty if there is a Problem.
	Version string

	// Problem is why the Secret has no usable password; nil if it has one.
	Problem *Problem

	// Generated reports whether the operator created the Secret, so it may replace the password.
	Generated bool

	// NotReplaced is a sentence that says why the operator cannot replace a generated password that is due; "" if it
	// can.
	NotReplaced string

	// MaxAge is the maximum age that the resource sets; 0 if it sets none.
	MaxAge time.Duration
}

// Problem is why a resource is not Ready: a reason and a sentence for people. The sentence is never parsed.
type Problem struct {
	Reason  string
	Message string
}

// Username returns the effective username of a resource: spec.username, or metadata.name if that is empty.
func Username(u *v1alpha1.ShardingUser) string {
	if u.Spec.Username != "" {
		return u.Spec.Username
	}
	return u.Name
}

// FromResource returns what a resource of the given cluster asks for. The caller adds what the resource does not hold:
// the state of the Secret, the policies' decision, and the protected roles.
func FromResource(cluster string, u *v1alpha1.ShardingUser) Desired {
	roles := make([]string, 0, len(u.Spec.Roles))
	for _, role := range u.Spec.Roles {
		roles = append(roles, string(role))
	}
	return Desired{
		Owner:      Owner{Cluster: cluster, System: u.Spec.System, Namespace: u.Namespace, Name: u.Name, UID: string(u.UID)},
		Generation: u.Generation,
		Username:   Username(u),
		Roles:      roles,
		Active:     u.Spec.Active == nil || *u.Spec.Active,
		Password:   Password{Managed: u.Spec.Password != nil, MaxAge: maxAge(u.Spec.Password)},
		Adoption:   u.Spec.AdoptionPolicy,
		Deletion:   u.Spec.DeletionPolicy,
		Deleting:   !u.DeletionTimestamp.IsZero(),
		Paused:     u.Annotations[v1alpha1.AnnotationPaused] == "true",
		// Any value is a request.
		Unlock:      withoutNUL(u.Annotations[v1alpha1.AnnotationUnlockRequestedAt]),
		SignOut:     withoutNUL(u.Annotations[v1alpha1.AnnotationSignOutRequestedAt]),
		ValidUntil:  pointInTime(u.Spec.ValidUntil),
		Lock:        standingLock(u.Spec.Lock),
		Unprotected: u.Annotations[v1alpha1.AnnotationAllowLastAdministrator] == "true",
	}
}

// withoutNUL returns the text as Postgres can keep it.
func withoutNUL(text string) string { return strings.ReplaceAll(text, "\x00", "\uFFFD") }

func maxAge(source *v1alpha1.PasswordSource) time.Duration {
	if source == nil || source.MaxAge == nil {
		return 0
	}
	return source.MaxAge.Duration
}
