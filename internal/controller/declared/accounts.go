// SPDX-License-Identifier: Apache-2.0

// Package declared derives accounts from what the cluster declares: ShardingUsers, their Secrets and their statuses. The
// fallback decides logins by these cluster accounts if the database was unavailable since the start, and a store in memory
// is restored from them.
package declared

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
	"github.com/sharding-system/shardinguser-operator/internal/controller/memory"
	"github.com/sharding-system/shardinguser-operator/internal/controller/policies"
	"github.com/sharding-system/shardinguser-operator/internal/controller/secrets"
	"github.com/sharding-system/shardinguser-operator/internal/controller/status"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

const (
	// secretsAtOnce is how many Secrets are read concurrently.
	secretsAtOnce = 16

	// readTimeout limits the reading of one Secret.
	readTimeout = 2 * time.Second

	// accountsTimeout limits how long one call of Accounts reads Secrets. Later calls return the rest: 10,000 Secrets take ten
	// seconds and more.
	accountsTimeout = 2 * time.Second
)

// ClusterAccounts are the accounts that the cluster declares; see docs/adr/0007-accounts-as-the-cluster-declares-them.md. It
// works on every replica, leader or not. It may be used by any number of goroutines.
type ClusterAccounts struct {
	client   client.Client // reads from the cache, writes to the API server
	secrets  *secrets.Reader
	users    *memory.Users // what the reader of Secrets remembers
	policies *policies.Policies
	hasher   *password.Hasher
	cluster  func(context.Context) (string, error)
	statuses *status.Writer
	now      func() time.Time

	mu    sync.Mutex
	known map[types.UID]knownPassword // of the owners of usernames whose Secret was read
}

// knownPassword is what a Secret's value became; the value itself is not kept.
type knownPassword struct {
	peeked string // the version of the Secret when it was read
	user.PasswordChange
	problem  *user.Problem // of the present Secret; the password is then the one before
	replaced *time.Time    // when it replaced another password, by this process's clock; nil for the first one
}

// Options are the settings of ClusterAccounts.
type Options struct {
	// Cluster returns the UID of the namespace kube-system, and waits until it is known.
	Cluster func(context.Context) (string, error)

	// Policies are those of the cluster; nil where they are turned off.
	Policies *policies.Policies

	// Statuses writes the locks of the fallback.
	Statuses *status.Writer

	// MinPasswordLength is the least number of characters of a password in a Secret.
	MinPasswordLength int
}

// New returns the ClusterAccounts of a manager. They need the indexes of package cache.
func New(mgr ctrl.Manager, hasher *password.Hasher, options Options) *ClusterAccounts {
	users := memory.New(time.Now)
	return &ClusterAccounts{
		client:   mgr.GetClient(),
		secrets:  secrets.NewReader(mgr.GetClient(), mgr.GetAPIReader(), nil, options.MinPasswordLength, users),
		users:    users,
		policies: options.Policies,
		hasher:   hasher,
		cluster:  options.Cluster,
		statuses: options.Statuses,
		now:      time.Now,
		known:    map[types.UID]knownPassword{},
	}
}

// Accounts returns the declared accounts by username. The hash of a row is a stand-in hash if the Secret holds a plain
// password, and matches nothing if no Secret is usable. Ownership is known from the status of the resource; it is nil if the
// status does not show the account.
//
// It reads changed Secrets, for a few seconds at most. An account whose Secret was not read yet is left out; one whose Secret
// is unreadable by now stays unchanged. An error is returned only if no account is known.
func (c *ClusterAccounts) Accounts(ctx context.Context) (map[string]user.Observed, error) {
	ctx, cancel := context.WithTimeout(ctx, accountsTimeout)
	defer cancel()
	accounts, err := c.accounts(ctx)
	if len(accounts) > 0 {
		return accounts, nil
	}
	return accounts, err
}

// accounts is Accounts until ctx ends; a Secret that is being read then is read to the end. With an error it returns the known
// accounts.
func (c *ClusterAccounts) accounts(ctx context.Context) (map[string]user.Observed, error) {
	cluster, err := c.cluster(ctx)
	if err != nil {
		return nil, err
	}
	owners, err := c.owners(ctx, cluster)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err = c.readSecrets(ctx, owners)
	now, accounts := c.now(), make(map[string]user.Observed, len(owners))
	for username, o := range owners {
		if p, ok := c.passwordOf(o.ShardingUser); ok {
			accounts[username] = o.account(p, now)
		}
	}
	return accounts, err
}

// owner is the resource that has a username, and whether its status shows that; see user.Claimant.
type owner struct {
	*v1alpha1.ShardingUser
	isShown    bool
	permission user.Permission
	desired    user.Desired // only in what owners returns
}

// owners returns the owners of all usernames.
func (c *ClusterAccounts) owners(ctx context.Context, cluster string) (map[string]owner, error) {
	users, err := cache.Users(ctx, c.client)
	if err != nil {
		return nil, err
	}
	owners := make(map[string]owner, len(users))
	for username, claims := range byUsername(users) {
		o, err := c.claimant(ctx, claims)
		if err != nil {
			return nil, err
		}
		if o.ShardingUser != nil {
			o.desired = user.FromResource(cluster, o.ShardingUser)
			o.desired.Permission = o.permission
			owners[username] = o
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

// claimant is user.Claimant with the policies applied: a resource that none permits gets no username, but keeps one that its
// status shows. It does not keep it if a permitted resource shows it too: otherwise a right to write one status would be a
// way to any username. The owner has no resource if the username has none.
func (c *ClusterAccounts) claimant(ctx context.Context, claims []*v1alpha1.ShardingUser) (owner, error) {
	var permitted, keeping []*v1alpha1.ShardingUser
	permissions := make(map[types.UID]user.Permission, len(claims))
	for _, u := range claims {
		permission, err := c.policies.Permission(ctx, u, c.now())
		switch {
		case errors.Is(err, policies.ErrNamespaceUnknown): // this must not delay all other accounts
			permission.Refusal = &user.Problem{Reason: v1alpha1.ReasonNotPermitted, Message: err.Error()}
		case err != nil:
			return owner{}, err
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
	u, isShown := user.Claimant(append(permitted, keeping...))
	if u == nil {
		return owner{}, nil
	}
	return owner{ShardingUser: u, isShown: isShown, permission: permissions[u.UID]}, nil
}

// passwordOf returns what is known of an owner's password, if its Secret was read. It is called with the lock held.
func (c *ClusterAccounts) passwordOf(u *v1alpha1.ShardingUser) (knownPassword, bool) {
	if u.Spec.Password == nil {
		return knownPassword{PasswordChange: user.PasswordChange{Hash: user.UnusablePassword}}, true
	}
	known, ok := c.known[u.UID]
	return known, ok
}

// account returns the owner's account.
func (o owner) account(p knownPassword, now time.Time) user.Observed {
	desired := o.desired
	desired.Password.Problem = p.problem
	account := user.ClusterAccount(desired, o.Status, p.PasswordChange, now)
	if !o.isShown {
		account.Ownership = nil
		return account
	}
	if at := account.Ownership.PasswordChangedAt; p.replaced != nil && (at == nil || at.Before(*p.replaced)) {
		account.Ownership.PasswordChangedAt = new(*p.replaced)
	}
	return account
}

// unreadSecret is a Secret that changed, or was never read.
type unreadSecret struct {
	owner   owner
	desired user.Desired   // with the password as peeked
	read    *knownPassword // nil until it was read
}

// readSecrets updates the passwords of the owners as far as possible. The error is one of those that occurred. It is called
// with the lock held.
func (c *ClusterAccounts) readSecrets(ctx context.Context, owners map[string]owner) error {
	unread, err := c.unread(ctx, owners)
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
			secret, err := c.secrets.Read(ctx, unread[i].owner.ShardingUser, unread[i].desired, secrets.Applied{})
			if err == nil {
				unread[i].read = &knownPassword{
					peeked: unread[i].desired.Password.Version, PasswordChange: c.standIn(secret), problem: secret.Problem,
				}
			}
			return err
		})
	}
	err = reading.Wait()
	for _, secret := range unread {
		if secret.read != nil {
			c.setPassword(secret.owner.UID, *secret.read)
		}
	}
	return err
}

// unread returns the Secrets to read, by what the cache knows of them, and forgets those of users without a username.
func (c *ClusterAccounts) unread(ctx context.Context, owners map[string]owner) ([]unreadSecret, error) {
	var unread []unreadSecret
	known := make(map[types.UID]knownPassword, len(owners))
	for _, o := range owners {
		if o.Spec.Password == nil {
			continue
		}
		peeked, err := c.secrets.Peek(ctx, o.ShardingUser, o.desired)
		if err != nil {
			return nil, err
		}
		before, ok := c.known[o.UID]
		if ok {
			known[o.UID] = before
		}
		if !ok || before.peeked != peeked.Version {
			desired := o.desired
			desired.Password = peeked
			unread = append(unread, unreadSecret{owner: o, desired: desired})
		}
	}
	for uid := range c.known {
		if _, isKnown := known[uid]; !isKnown {
			c.users.Forget(uid)
		}
	}
	c.known = known
	return unread, nil
}

// standIn returns what stands for a Secret's value. A bcrypt hash counts as applied, so that it is not applied again.
func (c *ClusterAccounts) standIn(secret secrets.Value) user.PasswordChange {
	switch {
	case secret.Problem != nil:
		return user.PasswordChange{Hash: user.UnusablePassword}
	case secret.Format == v1alpha1.PasswordFormatBcrypt:
		hash := string(secret.Text)
		return user.PasswordChange{Hash: hash, Version: secret.Version, Weak: user.DefaultHash(hash), Suspicion: secret.Suspicion}
	}
	return user.PasswordChange{Hash: c.hasher.StandIn(secret.Text), Weak: password.WellKnown(secret.Text), Suspicion: secret.Suspicion}
}

// setPassword records a password that was read. If it is unusable, the one in force stays, as in the database.
func (c *ClusterAccounts) setPassword(uid types.UID, read knownPassword) {
	before, ok := c.known[uid]
	switch {
	case !ok:
	case read.Hash == user.UnusablePassword:
		read.PasswordChange, read.replaced = before.PasswordChange, before.replaced
	case read.Hash == before.Hash:
		read.replaced = before.replaced
	case before.Hash != user.UnusablePassword:
		read.replaced = new(c.now())
	}
	c.known[uid] = read
}

// Locks returns the ends of the locks that statuses report, by username. The database's clock decides whether one has expired.
func (c *ClusterAccounts) Locks(ctx context.Context) (map[string]time.Time, error) {
	locked, err := cache.Users(ctx, c.client, cache.Locked())
	if err != nil {
		return nil, err
	}
	locks := map[string]time.Time{}
	for _, u := range locked {
		until := user.ReportedLock(u.Status)
		if until == nil {
			continue
		}
		o, err := c.owner(ctx, user.Username(&u))
		if err != nil {
			return nil, err
		}
		if o != nil && o.UID == u.UID {
			locks[user.Username(&u)] = *until
		}
	}
	return locks, nil
}

// PublishLock writes the lock of a row into the status of the account's resource, unless the status reports that lock or a
// later one. So other replicas, and a restarted process, know of a lock that the database does not know. It returns an error
// if another writer changed the status meanwhile; the caller retries.
//
// It is the exception to the rule that one reconciler writes statuses: no limit delays it.
func (c *ClusterAccounts) PublishLock(ctx context.Context, username string, locked user.Observed) error {
	o, err := c.owner(ctx, username)
	if err != nil || o == nil {
		return err
	}
	after := user.WithLock(o.Status, *locked.Row, locked.Now)
	if user.Same(o.Status, after) {
		return nil
	}
	if err := c.statuses.Write(ctx, o.DeepCopy(), after); err != nil {
		return fmt.Errorf("write the lock into the status: %w", err)
	}
	return nil
}

// owner returns the resource that has a username, or nil.
func (c *ClusterAccounts) owner(ctx context.Context, username string) (*v1alpha1.ShardingUser, error) {
	users, err := cache.Users(ctx, c.client, cache.WithUsername(username))
	if err != nil {
		return nil, err
	}
	o, err := c.claimant(ctx, byUsername(users)[username])
	return o.ShardingUser, err
}
