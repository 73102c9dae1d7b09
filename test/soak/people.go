// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// canary is in every password, so that a leaked password is found.
const canary = "soak-canary-"

func newPassword() string { return canary + strings.ToLower(rand.Text()) }

// A person is the intended state of a user: a resource, or what one left behind.
type person struct {
	name string

	mu       sync.Mutex
	exists   bool // whether the resource exists
	row      bool // whether the row should exist
	active   bool
	roles    []string
	password string // the row's password; valid while the row is active
	unlock   string // the last request
	left     bool   // a former resource left the row behind

	seen  time.Time       // since when the row is as intended; zero if it is not, or was changed
	knows map[string]bool // hashes that were compared with the password, and whether they match
}

// resource returns the person's intended resource.
func (p *person) resource(namespace string) *v1alpha1.ShardingUser {
	u := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: p.name}}
	p.apply(u)
	return u
}

// apply makes a resource equal to the intended one.
func (p *person) apply(u *v1alpha1.ShardingUser) {
	u.Spec.Roles = nil
	for _, role := range p.roles {
		u.Spec.Roles = append(u.Spec.Roles, v1alpha1.Role(role))
	}
	u.Spec.Active = new(p.active)
	u.Spec.Password = &v1alpha1.PasswordSource{SecretRef: v1alpha1.SecretKeyReference{Name: p.name}}
	if p.unlock != "" {
		metav1.SetMetaDataAnnotation(&u.ObjectMeta, v1alpha1.AnnotationUnlockRequestedAt, p.unlock)
	}
}

// accepted returns the password that should log the person in; empty for none.
func (p *person) accepted() string {
	if p.row && p.active {
		return p.password
	}
	return ""
}

// row is a row of the table users.
type row struct {
	hash   string
	roles  []string
	active bool
	lock   *time.Time // nil if there is none, or it expired
	unlock string     // the last handled request, from the ownership record
	noted  string     // the hash, from the ownership record
}

// enabledHash returns the hash of the row when it is active.
func (r *row) enabledHash() string {
	if rest, disabled := strings.CutPrefix(r.hash, "!"); disabled && !r.active {
		return "$" + rest
	}
	return r.hash
}

// differs describes how a row differs from the intended one; empty if it does not. A missing row is nil.
func (p *person) differs(r *row) string {
	switch {
	case !p.row && r != nil:
		return "there is a row, and should be none"
	case !p.row:
		return ""
	case r == nil:
		return "there is no row"
	case r.active != p.active:
		return fmt.Sprintf("active is %t", r.active)
	case !slices.Equal(slices.Sorted(slices.Values(r.roles)), slices.Sorted(slices.Values(p.roles))):
		return fmt.Sprintf("roles are %q, want %q", r.roles, p.roles)
	}
	hash := r.enabledHash()
	if !r.active && hash == r.hash {
		return "the hash of an inactive row is not disabled"
	}
	key := hash + " " + p.password
	if _, known := p.knows[key]; !known {
		p.knows[key] = bcrypt.CompareHashAndPassword([]byte(hash), []byte(p.password)) == nil
	}
	if !p.knows[key] {
		return "the hash is not the password's"
	}
	return ""
}

// createPeople creates the people, each with a resource.
func (s *stage) createPeople(ctx context.Context) error {
	const victims = 3
	for i := range s.set.users {
		name := fmt.Sprintf("user-%03d", i)
		switch {
		case i < victims:
			name = fmt.Sprintf("victim-%d", i)
		case i == victims:
			name = "probe"
		}
		s.people = append(s.people, &person{name: name, knows: map[string]bool{}})
	}
	s.victims, s.probe = s.people[:victims], s.people[victims]
	var creating errgroup.Group
	creating.SetLimit(8)
	for _, p := range s.people {
		creating.Go(func() error {
			p.mu.Lock()
			defer p.mu.Unlock()
			return s.create(ctx, p)
		})
	}
	return creating.Wait()
}

// others returns the people that are edited: all except the victims and the probe.
func (s *stage) others() []*person { return s.people[len(s.victims)+1:] }

// The edits are called with the person locked. Each records its request in the ledger first, and repeats the request
// until it succeeded, also while the API server is unavailable.

func (s *stage) create(ctx context.Context, p *person) error {
	p.exists, p.row, p.active, p.unlock = true, true, true, ""
	p.roles, p.password = someRoles(), newPassword()
	s.intend(p, true)
	if err := s.writeSecret(ctx, p); err != nil {
		return err
	}
	return s.insist(ctx, func(ctx context.Context) error {
		err := s.api.Create(ctx, p.resource(s.namespace))
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		// The one whose response was lost, or a former one that still exists.
		var there v1alpha1.ShardingUser
		if err := s.api.Get(ctx, s.key(p), &there); err != nil {
			return err
		}
		if !there.DeletionTimestamp.IsZero() {
			return errors.New("the former one is still there")
		}
		return nil
	})
}

func (s *stage) rotate(ctx context.Context, p *person) error {
	p.password = newPassword()
	s.intend(p, true)
	return s.writeSecret(ctx, p)
}

func (s *stage) reassign(ctx context.Context, p *person) error {
	p.roles = someRoles()
	s.intend(p, false)
	return s.update(ctx, p)
}

func (s *stage) activate(ctx context.Context, p *person, active bool) error {
	p.active = active
	s.intend(p, false)
	return s.update(ctx, p)
}

func (s *stage) requestUnlock(ctx context.Context, p *person) error {
	p.unlock = time.Now().UTC().Format(time.RFC3339Nano)
	p.seen = time.Time{}
	s.ledger.unlock(p.name, time.Now())
	return s.update(ctx, p)
}

// delete deletes the resource. A row that stays is unchanged, so it has to match the spec before. If a former resource
// left it, this resource must have reclaimed it before: one that comes and goes without a leader never existed for the
// operator, and the row stays as the former one asked.
func (s *stage) delete(ctx context.Context, p *person, policy v1alpha1.DeletionPolicy) error {
	if p.left && p.seen.IsZero() {
		return nil // another time
	}
	if policy != v1alpha1.DeletionDelete {
		if p.seen.IsZero() {
			return nil // another time
		}
		if err := s.edit(ctx, p, func(u *v1alpha1.ShardingUser) { u.Spec.DeletionPolicy = policy }); err != nil {
			return err
		}
	}
	p.exists, p.left = false, policy != v1alpha1.DeletionDelete
	switch policy {
	case v1alpha1.DeletionDelete:
		p.row = false
	case v1alpha1.DeletionDeactivate:
		p.active = false
	case v1alpha1.DeletionRetain:
	}
	s.intend(p, false)
	return s.insist(ctx, func(ctx context.Context) error {
		return client.IgnoreNotFound(s.api.Delete(ctx, p.resource(s.namespace)))
	})
}

// intend tells the ledger the intended state of the person, and whether its password is a fresh one.
func (s *stage) intend(p *person, fresh bool) {
	p.seen = time.Time{}
	s.ledger.intend(p.name, p.accepted(), fresh, time.Now())
}

func (s *stage) key(p *person) client.ObjectKey {
	return client.ObjectKey{Namespace: s.namespace, Name: p.name}
}

func (s *stage) update(ctx context.Context, p *person) error { return s.edit(ctx, p, p.apply) }

func (s *stage) edit(ctx context.Context, p *person, change func(*v1alpha1.ShardingUser)) error {
	return s.insist(ctx, func(ctx context.Context) error {
		var u v1alpha1.ShardingUser
		if err := s.api.Get(ctx, s.key(p), &u); err != nil {
			return err
		}
		before := u.DeepCopy()
		change(&u)
		return s.api.Patch(ctx, &u, client.MergeFrom(before))
	})
}

func (s *stage) writeSecret(ctx context.Context, p *person) error {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: p.name}, Data: map[string][]byte{"password": []byte(p.password)},
	}
	return s.insist(ctx, func(ctx context.Context) error {
		err := s.api.Update(ctx, secret.DeepCopy())
		if apierrors.IsNotFound(err) {
			err = s.api.Create(ctx, secret.DeepCopy())
		}
		return err
	})
}

// insist repeats a request until the API server accepts it.
func (s *stage) insist(ctx context.Context, ask func(context.Context) error) error {
	return within(ctx, "the API server does not do as asked", 2*patience, 200*time.Millisecond, ask)
}

// editing edits random people, one after another.
func (s *stage) editing(ctx context.Context, people []*person) error {
	for pause(ctx, mathrand.N(2*s.pace)) == nil {
		s.calm.RLock()
		err := s.editOne(ctx, people[mathrand.IntN(len(people))])
		s.calm.RUnlock()
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("edit a user: %w", err)
		}
	}
	return nil
}

// editOne edits a person. Rows that another program changes are never left behind, because their state would be
// unknown.
func (s *stage) editOne(ctx context.Context, p *person) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	dice := mathrand.IntN(100)
	var name string
	var do func() error
	switch {
	case !p.exists:
		name, do = "created", func() error { return s.create(ctx, p) }
	case dice < 30:
		name, do = "roles edited", func() error { return s.reassign(ctx, p) }
	case dice < 55:
		name, do = "password rotated", func() error { return s.rotate(ctx, p) }
	case dice < 70:
		name, do = "activated or deactivated", func() error { return s.activate(ctx, p, !p.active) }
	case dice < 80:
		name, do = "unlock requested", func() error { return s.requestUnlock(ctx, p) }
	default:
		policies := []v1alpha1.DeletionPolicy{v1alpha1.DeletionDelete}
		if !drifts(p) {
			policies = append(policies, v1alpha1.DeletionDeactivate, v1alpha1.DeletionRetain)
		}
		policy := policies[dice%len(policies)]
		name, do = "deleted ("+string(policy)+")", func() error { return s.delete(ctx, p, policy) }
	}
	s.story.count("edit: " + name)
	return do()
}

func someRoles() []string {
	all := []string{"viewer", "operator", "auditor", "router", "planner"}
	mathrand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:1+mathrand.IntN(3)]
}

// ready returns why a resource's status is not as intended; nil if it is.
func ready(u *v1alpha1.ShardingUser) error {
	condition := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case condition == nil:
		return errors.New("it has no status")
	case condition.Status != metav1.ConditionTrue:
		return fmt.Errorf("it is not ready: %s: %s", condition.Reason, condition.Message)
	case u.Status.ObservedGeneration != u.Generation || condition.ObservedGeneration != u.Generation:
		return fmt.Errorf("its status is of generation %d, and it of %d", u.Status.ObservedGeneration, u.Generation)
	case u.Annotations[v1alpha1.AnnotationUnlockRequestedAt] != u.Status.LastHandledUnlock:
		return errors.New("its unlock was not handled")
	}
	return nil
}
