// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/cache"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

const (
	// secretsAtOnce is how many Secrets are read at the same time.
	secretsAtOnce = 16

	// readTimeout bounds the reading of one Secret.
	readTimeout = 2 * time.Second

	// patience is how long one call of Accounts goes on to read. What has not been read by then is in the answer to a
	// later one: 10,000 Secrets take ten seconds and more.
	patience = 2 * time.Second
)

// Declarations tells of accounts what the cluster declares: resources, Secrets and statuses. It is what log-ins are decided
// by where there was no database since the start, and what a store in memory is restored from; see
// docs/adr/0007-accounts-as-the-cluster-declares-them.md.
//
// It works on every replica, whether or not it leads. It may be used by any number of goroutines.
type Declarations struct {
	client   client.Client // reads from the cache, writes to the API server
	secrets  *secretReader
	policies *policies // nil where they are turned off
	hasher   *password.Hasher
	cluster  func(context.Context) (string, error)
	statuses *statuses
	now      func() time.Time

	mu    sync.Mutex
	known map[types.UID]declaredPassword // of those who have a username, as far as it was read
}

// declaredPassword is what became of a Secret's value; of the value itself nothing is kept.
type declaredPassword struct {
	glanced string // the version of the Secret by which it was read
	user.PasswordChange
	problem  *user.Problem // of what the Secret holds now; the password is then the one before
	replaced *time.Time    // when it took the place of another password, by this process's clock; nil where it was the first
}

// NewDeclarations builds it. Setup has to be given it, in the options, and provides the indexes that it needs.
func NewDeclarations(ctx context.Context, mgr ctrl.Manager, hasher *password.Hasher, options Options) (*Declarations, error) {
	statuses, err := newStatuses(mgr, options.Registry)
	if err != nil {
		return nil, err
	}
	var policies *policies
	if !options.NoPolicies {
		if policies, err = newPolicies(ctx, mgr); err != nil {
			return nil, err
		}
	}
	return &Declarations{
		client:   mgr.GetClient(),
		secrets:  newSecretReader(mgr.GetClient(), mgr.GetAPIReader(), options.MinPasswordLength),
		policies: policies,
		hasher:   hasher,
		cluster:  options.Cluster,
		statuses: statuses,
		now:      time.Now,
		known:    map[types.UID]declaredPassword{},
	}, nil
}

// Accounts is the accounts that are declared, by username. A row's hash is a print where the Secret holds a clear password,
// and matches nothing where there is no usable one. Ownership tells whose the account was by its resource's status; it is
// nil where that tells of nothing.
//
// It reads the Secrets that changed, for a few seconds at most: an account whose Secret has not been read yet is left
// out, and one whose Secret cannot be read any more stays as it was. It is an error only where nothing is known at all.
func (d *Declarations) Accounts(ctx context.Context) (map[string]user.Observed, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	accounts, err := d.accounts(ctx)
	if len(accounts) > 0 {
		return accounts, nil
	}
	return accounts, err
}

// accounts is Accounts until ctx ends; what is being read then is read to the end. With an error there are those that are
// known.
func (d *Declarations) accounts(ctx context.Context) (map[string]user.Observed, error) {
	cluster, err := d.cluster(ctx)
	if err != nil {
		return nil, err
	}
	owners, err := d.owners(ctx)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	err = d.readSecrets(ctx, owners)
	now, accounts := d.now(), make(map[string]user.Observed, len(owners))
	for username, owner := range owners {
		if p, ok := d.passwordKnown(owner.ShardingUser); ok {
			accounts[username] = declaredAccount(cluster, owner, p, now)
		}
	}
	return accounts, err
}

// declaredOwner is a resource that has its username, and whether that is noted; see user.Claimant.
type declaredOwner struct {
	*v1alpha1.ShardingUser
	noted      bool
	permission user.Permission
}

// owners is who has which username.
func (d *Declarations) owners(ctx context.Context) (map[string]declaredOwner, error) {
	users, err := cache.Users(ctx, d.client)
	if err != nil {
		return nil, err
	}
	owners := make(map[string]declaredOwner, len(users))
	for username, claims := range byUsername(users) {
		owner, err := d.claimant(ctx, claims)
		if err != nil {
			return nil, err
		}
		if owner.ShardingUser != nil {
			owners[username] = owner
		}
	}
	return owners, nil
}

func byUsername(users []v1alpha1.ShardingUser) map[string][]*v1alpha1.ShardingUser {
	claims := make(map[string][]*v1alpha1.ShardingUser, len(users))
	for i := range users {
		username := user.Username(&users[i])
		claims[username] = append(claims[username], &users[i])
	}
	return claims
}

// claimant is user.Claimant, by what the policies say: whom none permits gets no username, but keeps what he shows that he
// has. Not so where somebody who is permitted shows it, too: whoever may write the one status could claim any username by it.
// There is no resource in it where nobody has the username.
func (d *Declarations) claimant(ctx context.Context, claims []*v1alpha1.ShardingUser) (declaredOwner, error) {
	var permitted, keeping []*v1alpha1.ShardingUser
	permissions := make(map[types.UID]user.Permission, len(claims))
	for _, u := range claims {
		permission, err := d.policies.permission(ctx, u)
		switch {
		case errors.Is(err, errNamespaceUnknown): // which must not keep all others waiting
			permission.Refusal = &user.Problem{Reason: v1alpha1.ReasonNotPermitted, Message: err.Error()}
		case err != nil:
			return declaredOwner{}, err
		}
		permissions[u.UID] = permission
		switch {
		case permission.Refusal == nil:
			permitted = append(permitted, u)
		case user.ShowsAccount(u):
			keeping = append(keeping, u)
		}
	}
	if slices.ContainsFunc(permitted, user.ShowsAccount) {
		keeping = nil
	}
	owner, noted := user.Claimant(append(permitted, keeping...))
	if owner == nil {
		return declaredOwner{}, nil
	}
	return declaredOwner{owner, noted, permissions[owner.UID]}, nil
}

// passwordKnown is what is known of an owner's password; not where its Secret has not been read yet. It is called with the
// lock held.
func (d *Declarations) passwordKnown(owner *v1alpha1.ShardingUser) (declaredPassword, bool) {
	if owner.Spec.Password == nil {
		return declaredPassword{PasswordChange: user.PasswordChange{Hash: user.UnusablePassword}}, true
	}
	known, ok := d.known[owner.UID]
	return known, ok
}

func declaredAccount(cluster string, owner declaredOwner, p declaredPassword, now time.Time) user.Observed {
	desired := user.FromResource(cluster, owner.ShardingUser)
	desired.Permission, desired.Password.Problem = owner.permission, p.problem
	account := user.Declared(desired, owner.Status, p.PasswordChange, now)
	if !owner.noted {
		account.Ownership = nil
		return account
	}
	if at := account.Ownership.PasswordChangedAt; p.replaced != nil && (at == nil || at.Before(*p.replaced)) {
		account.Ownership.PasswordChangedAt = new(*p.replaced)
	}
	return account
}

// unreadSecret is one that changed, or was never read.
type unreadSecret struct {
	owner   declaredOwner
	glanced string
	read    *declaredPassword // nil until it has been
}

// readSecrets brings what is known of the owners' passwords up to date, as far as it can: the error is one of those that it
// met with. It is called with the lock held.
func (d *Declarations) readSecrets(ctx context.Context, owners map[string]declaredOwner) error {
	unread, err := d.unread(ctx, owners)
	if err != nil {
		return err
	}
	var reading errgroup.Group
	reading.SetLimit(secretsAtOnce)
	for i := range unread {
		reading.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
			defer cancel()
			secret, err := d.secrets.read(ctx, unread[i].owner.ShardingUser, unread[i].owner.permission.Terms, unread[i].glanced, appliedVersion{})
			if err == nil {
				unread[i].read = &declaredPassword{glanced: unread[i].glanced, PasswordChange: d.passwordOf(secret), problem: secret.Problem}
			}
			return err
		})
	}
	err = reading.Wait()
	for _, secret := range unread {
		if secret.read != nil {
			d.take(secret.owner.UID, *secret.read)
		}
	}
	return err
}

// unread finds the Secrets to read, by what the cache knows of them, and forgets those of who has no username any more.
func (d *Declarations) unread(ctx context.Context, owners map[string]declaredOwner) ([]unreadSecret, error) {
	var unread []unreadSecret
	known := make(map[types.UID]declaredPassword, len(owners))
	for _, owner := range owners {
		if owner.Spec.Password == nil {
			continue
		}
		glanced, err := d.secrets.glance(ctx, owner.ShardingUser, owner.permission.Terms)
		if err != nil {
			return nil, err
		}
		before, ok := d.known[owner.UID]
		if ok {
			known[owner.UID] = before
		}
		if !ok || before.glanced != glanced.Version {
			unread = append(unread, unreadSecret{owner: owner, glanced: glanced.Version})
		}
	}
	for uid := range d.known {
		if _, still := known[uid]; !still {
			d.secrets.forget(uid)
		}
	}
	d.known = known
	return unread, nil
}

// passwordOf is what stands for a Secret's value. A hash that is there already is noted as applied, so that nobody has to
// apply it again.
func (d *Declarations) passwordOf(secret secretValue) user.PasswordChange {
	switch {
	case secret.Problem != nil:
		return user.PasswordChange{Hash: user.UnusablePassword}
	case secret.format == v1alpha1.PasswordFormatBcrypt:
		hash := string(secret.value)
		return user.PasswordChange{Hash: hash, Version: secret.Version, Weak: user.DefaultHash(hash), Suspicion: secret.suspicion}
	}
	return user.PasswordChange{Hash: d.hasher.Print(secret.value), Weak: password.WellKnown(secret.value), Suspicion: secret.suspicion}
}

// take takes up what was read. Where that is no usable password, the one in force stays in force, as everywhere.
func (d *Declarations) take(uid types.UID, read declaredPassword) {
	before, ok := d.known[uid]
	switch {
	case !ok:
	case read.Hash == user.UnusablePassword:
		read.PasswordChange, read.replaced = before.PasswordChange, before.replaced
	case read.Hash == before.Hash:
		read.replaced = before.replaced
	case before.Hash != user.UnusablePassword:
		read.replaced = new(d.now())
	}
	d.known[uid] = read
}

// Locks is the locks that the statuses tell of, by username. Whether one is over is for the database's clock to tell.
func (d *Declarations) Locks(ctx context.Context) (map[string]time.Time, error) {
	locked, err := cache.Users(ctx, d.client, cache.Locked())
	if err != nil {
		return nil, err
	}
	locks := map[string]time.Time{}
	for _, u := range locked {
		until := u.Status.LockedUntil
		if until == nil {
			continue
		}
		owner, err := d.owner(ctx, user.Username(&u))
		if err != nil {
			return nil, err
		}
		if owner != nil && owner.UID == u.UID {
			locks[user.Username(&u)] = until.UTC()
		}
	}
	return locks, nil
}

// PublishLock writes the lock of the account's row into the status of the account's resource, where there is one, unless it tells of that
// lock, or of a later one, already. So other replicas know of a lock that the database knows nothing of, and a process that
// begins anew. Whoever else writes the status meanwhile makes it fail: to try again is the caller's.
//
// It is the exception to the rule that one reconciler writes the statuses: it never waits for its turn.
func (d *Declarations) PublishLock(ctx context.Context, username string, locked user.Observed) error {
	owner, err := d.owner(ctx, username)
	if err != nil || owner == nil {
		return err
	}
	after := user.WithLock(owner.Status, *locked.Row, locked.Now)
	if user.Same(owner.Status, after) {
		return nil
	}
	if err := d.statuses.write(ctx, owner.DeepCopy(), after); err != nil {
		return fmt.Errorf("write the lock into the status: %w", err)
	}
	return nil
}

// owner is the resource that has the username; nil where none does.
func (d *Declarations) owner(ctx context.Context, username string) (*v1alpha1.ShardingUser, error) {
	users, err := cache.Users(ctx, d.client, cache.WithUsername(username))
	if err != nil {
		return nil, err
	}
	owner, err := d.claimant(ctx, byUsername(users)[username])
	return owner.ShardingUser, err
}
