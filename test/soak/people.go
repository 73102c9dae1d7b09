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

// canary is in every password, so that one is found wherever it should not be.
const canary = "soak-canary-"

func newPassword() string { return canary + strings.ToLower(rand.Text()) }

// A person is a user as it should be: a resource, or what one left behind.
type person struct {
	name string

	mu       sync.Mutex
	exists   bool // the resource does
	row      bool // the row should
	active   bool
	roles    []string
	password string // that the row should match; it is accepted while the row is active
	unlock   string // the last request
	left     bool   // a former resource left the row behind

	seen  time.Time       // since when the row was seen to be as it should; zero where it is not, or was touched
	knows map[string]bool // hashes that were compared with the password, and whether they match
}

// resource is the person's, as it should be.
func (p *person) resource(namespace string) *v1alpha1.ShardingUser {
	u := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: p.name}}
	p.apply(u)
	return u
}

// apply makes a resource what it should be.
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

// accepted is the password that should get the person in; empty for none.
func (p *person) accepted() string {
	if p.row && p.active {
		return p.password
	}
	return ""
}

// row is one of the table users.
type row struct {
	hash   string
	roles  []string
	active bool
	lock   *time.Time // nil where there is none, or it ran out
	unlock string     // the request that was handled last, by the operator's note
	noted  string     // the hash, by the operator's note
}

// enabledHash is the hash as it is while the row is active.
func (r *row) enabledHash() string {
	if rest, disabled := strings.CutPrefix(r.hash, "!"); disabled && !r.active {
		return "$" + rest
	}
	return r.hash
}

// differs says in what a row is not as it should be; empty where it is. It is nil where there is none.
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

// everybody makes the people, all of whom begin with a resource.
func (s *stage) everybody(ctx context.Context) error {
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

// others is who is edited: everybody but the victims and the probe.
func (s *stage) others() []*person { return s.people[len(s.victims)+1:] }

// The edits. They are called with the person locked. Each says what it is about to ask for before it does, and asks until
// that has been done: what is left undone by an API server that is away is done when it is back.

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
		// The one that was answered by nobody, or a former one that is not gone yet.
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

// delete deletes the resource. A row that stays behind stays as it is, so that one has to be as it should before. And where a
// former resource left one behind, this one has to have taken it up before: one that comes and goes while nobody leads was
// never there, and the row stays as the former one wanted.
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

// intend tells the ledger what the person is to be, and whether its password is a fresh one.
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

// insist asks the API server until it does as asked.
func (s *stage) insist(ctx context.Context, ask func(context.Context) error) error {
	return within(ctx, "the API server does not do as asked", 2*patience, 200*time.Millisecond, ask)
}

// editing edits some of the people at random, one after the other.
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

// editOne edits a person. Rows that another program changes are never left behind: one could not say how.
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

// ready is why a resource's status does not tell that all is as asked; nil where it does.
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
