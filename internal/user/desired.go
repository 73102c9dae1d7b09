// SPDX-License-Identifier: Apache-2.0

package user

import (
	"strings"
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Owner identifies the ShardingUser that a row belongs to. Several clusters may share one table.
type Owner struct {
	Cluster   string // UID of the cluster's kube-system namespace
	Namespace string
	Name      string
	UID       string
}

// Succeeds reports whether o has the same place (cluster, namespace and name) as former but is another resource.
// Since a place holds one resource at a time, the former one is gone when o is known to be there.
func (o Owner) Succeeds(former Owner) bool {
	return o.samePlace(former) && o.UID != former.UID
}

func (o Owner) samePlace(other Owner) bool {
	return o.Cluster == other.Cluster && o.Namespace == other.Namespace && o.Name == other.Name
}

// String is the owner as people write it: namespace/name.
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
	Paused     bool   // nothing may be changed in the database
	Unlock     string // the request to unlock; "" where there is none
	Permission Permission

	// Protected are the roles of which each has to be held by some active user, and Unprotected tells that the resource may
	// nevertheless take the last one away.
	Protected   []string
	Unprotected bool
}

// Password is what is known of the password that a ShardingUser asks for, short of the password itself.
type Password struct {
	// Managed tells whether the resource names a password at all. Without one the row's password is not ours.
	Managed bool

	// Version identifies the value that the Secret holds now. It is compared with the version that was applied last,
	// and has no other meaning. It is empty where there is a Problem.
	Version string

	// Problem tells why the Secret yields no usable password; nil where it does.
	Problem *Problem

	// Generated tells whether the operator made the Secret, and so may put another password into it.
	Generated bool

	// NotReplaced is why the operator cannot replace a generated password that has to be replaced, as a sentence; "" where it can.
	NotReplaced string

	// MaxAge is how old the resource lets the password become; 0 where it says nothing of that.
	MaxAge time.Duration
}

// Problem is something that keeps a resource from being as it should: a reason of the Ready condition and a sentence
// for people. The sentence is never parsed.
type Problem struct {
	Reason  string
	Message string
}

// Username is the effective username of a resource: spec.username, or else metadata.name.
func Username(u *v1alpha1.ShardingUser) string {
	if u.Spec.Username != "" {
		return u.Spec.Username
	}
	return u.Name
}

// FromResource reads what a resource of the given cluster asks for. Of the password it knows only whether there is to
// be one: what the Secret holds is for the caller to find out, as are what policies say and which roles are protected.
func FromResource(cluster string, u *v1alpha1.ShardingUser) Desired {
	roles := make([]string, 0, len(u.Spec.Roles))
	for _, role := range u.Spec.Roles {
		roles = append(roles, string(role))
	}
	return Desired{
		Owner:      Owner{Cluster: cluster, Namespace: u.Namespace, Name: u.Name, UID: string(u.UID)},
		Generation: u.Generation,
		Username:   Username(u),
		Roles:      roles,
		Active:     u.Spec.Active == nil || *u.Spec.Active,
		Password:   Password{Managed: u.Spec.Password != nil, MaxAge: maxAge(u.Spec.Password)},
		Adoption:   u.Spec.AdoptionPolicy,
		Deletion:   u.Spec.DeletionPolicy,
		Deleting:   !u.DeletionTimestamp.IsZero(),
		Paused:     u.Annotations[v1alpha1.AnnotationPaused] == "true",
		// Any value is a request, but for the database a text holds no NUL.
		Unlock:      strings.ReplaceAll(u.Annotations[v1alpha1.AnnotationUnlockRequestedAt], "\x00", "\uFFFD"),
		Unprotected: u.Annotations[v1alpha1.AnnotationAllowLastAdministrator] == "true",
	}
}

func maxAge(source *v1alpha1.PasswordSource) time.Duration {
	if source == nil || source.MaxAge == nil {
		return 0
	}
	return source.MaxAge.Duration
}
