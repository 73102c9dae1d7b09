// SPDX-License-Identifier: Apache-2.0

// Package defaultusers creates the users that a sharding system starts with, at its very first start.
package defaultusers

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// defaultUsers are the users that a sharding system starts with. Each has the role of its name, and its password in the Secret
// NAME-password.
var defaultUsers = user.DefaultUsernames()

// labelComponent marks the default users and their Secrets.
const labelComponent = "app.kubernetes.io/component"

// annotationIncomplete is on the first of the default users until the others are there.
const annotationIncomplete = "sharding.io/default-users-incomplete"

// Store is the store as the Creator needs it.
type Store interface {
	// Fresh reports whether the store was never used. In doubt it is false.
	Fresh(ctx context.Context) (bool, error)
}

// Options say where the default users are created, and with which passwords.
type Options struct {
	Namespace string

	// System is the one that the users belong to. Those of the default system, "", are called as their usernames are, those of
	// another one SYSTEM-USERNAME.
	System string

	// Watched are the namespaces in which no ShardingUser may be; none means all.
	Watched []string

	// WellKnown asks for the sharding system's own passwords in place of random ones.
	WellKnown bool

	// MinPasswordLength is the least number of characters of a random password, 72 at most.
	MinPasswordLength int

	// Beginning reads the first accounts of the table, and whether an operator ever kept one in the database. With it, the
	// default users adopt the accounts that the sharding manager inserted; without it they do not.
	Beginning func(ctx context.Context, limit int) (store.Beginning, error)

	Log logr.Logger
}

// Creator creates the default users if the store was never used and there is no ShardingUser. The leader decides that once, as
// soon as API server and store answer.
//
// A leader may be killed at any moment. So it creates the Secrets first, then one user with a mark, then the other users, and
// it removes the mark last. The next leader finds one of these:
//
//   - No user: it creates everything. An existing Secret is used unchanged.
//   - The mark: it creates the missing users, but no Secret, since all of them existed before the mark. So the mark, which
//     anyone with rights on ShardingUsers may set, is no way to a well-known password.
//   - Users without the mark, or a used store: it creates nothing. Deleted users stay deleted.
//
// If the sharding manager's own accounts are adopted, see takeover.go, the mark stays until that is done.
//
// The Secrets have no owner: like every given password, they are not deleted with the user.
type Creator struct {
	live    client.Reader // reads from the API server: the cache may be behind
	writer  client.Writer
	store   Store
	options Options
	there   map[string]bool // what an earlier try created or found

	adoption v1alpha1.AdoptionPolicy // of the users that are created
}

// The backoff of the decision, while API server or store do not answer.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// New returns a Creator, which is to be added to the manager. To the reader, only the users of the system exist.
func New(live client.Reader, writer client.Writer, store Store, options Options) *Creator {
	return &Creator{live: live, writer: writer, store: store, options: options, there: map[string]bool{}}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: one replica decides.
func (*Creator) NeedLeaderElection() bool { return true }

// Start retries until it has decided and done what it decided, or until ctx ends. It returns no error: the manager works
// without default users.
func (c *Creator) Start(ctx context.Context) error {
	logged := ""
	retry := wait.Backoff{Duration: firstRetry, Factor: 2, Jitter: 0.2, Steps: 20, Cap: lastRetry}
	_ = retry.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		err := c.decide(ctx)
		switch {
		case err == nil:
			return true, nil
		case ctx.Err() != nil || err.Error() == logged:
		case apierrors.IsForbidden(err):
			c.options.Log.Error(err, "Cannot create the default users")
		default:
			c.options.Log.Info("Cannot create the default users yet; it is retried", "error", err.Error())
		}
		logged = err.Error()
		return false, nil //nolint:nilerr // logged, and retried
	})
	return nil
}

// decide finds out whether to create the default users, or to finish a killed leader's work, and does it.
func (c *Creator) decide(ctx context.Context) error {
	begun, err := c.begun(ctx)
	if err != nil {
		return err
	}
	if !begun {
		if used, err := c.used(ctx); err != nil || used {
			return err
		}
		if err := c.begin(ctx); err != nil {
			return err
		}
	}
	for _, name := range defaultUsers[1:] {
		if err := c.createUnlessThere(ctx, c.user(name)); err != nil {
			return err
		}
	}
	if err := c.takeOver(ctx); err != nil {
		return err
	}
	if err := c.unmark(ctx); err != nil {
		return err
	}
	c.options.Log.Info("The default users exist; the command shows the password of the first one", "command", fmt.Sprintf(
		"kubectl -n %s get secret %s -o jsonpath={.data.%s} | base64 -d", c.options.Namespace, c.secretOf(defaultUsers[0]), defaultSecretKey))
	return nil
}

// begun reports whether the mark is there.
func (c *Creator) begun(ctx context.Context) (bool, error) {
	var first v1alpha1.ShardingUser
	err := c.live.Get(ctx, client.ObjectKeyFromObject(c.user(defaultUsers[0])), &first)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("read the ShardingUser %s: %w", defaultUsers[0], err)
	}
	return first.DeletionTimestamp.IsZero() && first.Annotations[annotationIncomplete] != "", nil
}

// used reports whether this is not the very first start, and logs why.
func (c *Creator) used(ctx context.Context) (bool, error) {
	namespaces := c.options.Watched
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	for _, namespace := range namespaces {
		var users v1alpha1.ShardingUserList
		if err := c.live.List(ctx, &users, client.InNamespace(namespace), client.Limit(1)); err != nil {
			return false, fmt.Errorf("list ShardingUsers: %w", err)
		}
		if len(users.Items) > 0 {
			c.options.Log.Info("No default users are created: ShardingUsers already exist")
			return true, nil
		}
	}
	fresh, err := c.store.Fresh(ctx)
	if err != nil || fresh {
		return false, err
	}
	why := "the database was used before"
	if c.options.Beginning != nil {
		if why, err = c.whyNotAdopted(ctx); err != nil {
			return false, err
		}
		if why == "" {
			c.options.Log.Info("The default users adopt the accounts of the sharding manager, with new passwords")
			c.adoption = v1alpha1.AdoptionIfUnowned
			return false, nil
		}
	}
	c.options.Log.Info("No default users are created: " + why)
	return true, nil
}

// begin creates all Secrets, and the first user with the mark. If another program creates a user of that name at the same
// moment, that is an error, and the decision is made again.
func (c *Creator) begin(ctx context.Context) error {
	for _, name := range defaultUsers {
		if err := c.createUnlessThere(ctx, c.secret(name)); err != nil {
			return err
		}
	}
	first := c.user(defaultUsers[0])
	first.Annotations = map[string]string{annotationIncomplete: "true"}
	return c.create(ctx, first)
}

// unmark records that all users exist. A first user that was deleted meanwhile needs no record.
func (c *Creator) unmark(ctx context.Context) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:null}}}`, annotationIncomplete)
	err := c.writer.Patch(ctx, c.user(defaultUsers[0]), client.RawPatch(types.MergePatchType, []byte(patch)))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("record that the default users exist: %w", err)
	}
	return nil
}

// createUnlessThere leaves an existing object unchanged.
func (c *Creator) createUnlessThere(ctx context.Context, o client.Object) error {
	err := c.create(ctx, o)
	if apierrors.IsAlreadyExists(err) {
		if !c.there[o.GetName()] {
			c.options.Log.Info("The resource already exists and is used unchanged", "name", o.GetName())
		}
		err = nil
	}
	c.there[o.GetName()] = err == nil
	return err
}

func (c *Creator) create(ctx context.Context, o client.Object) error {
	err := c.writer.Create(ctx, o)
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("create %s: %w; apply config/default-users, which allows it", o.GetName(), err)
	case err != nil:
		return fmt.Errorf("create %s: %w", o.GetName(), err)
	}
	return nil
}

func (c *Creator) user(username string) *v1alpha1.ShardingUser {
	named := ""
	if c.options.System != "" {
		named = username
	}
	return &v1alpha1.ShardingUser{
		ObjectMeta: c.meta(c.nameOf(username)),
		Spec: v1alpha1.ShardingUserSpec{
			System:   c.options.System,
			Username: named,
			Roles:    []v1alpha1.Role{v1alpha1.Role(username)},
			Password: &v1alpha1.PasswordSource{SecretRef: v1alpha1.SecretKeyReference{Name: c.secretOf(username)}},

			AdoptionPolicy: c.adoption,
		},
	}
}

func (c *Creator) secret(username string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: c.meta(c.secretOf(username)),
		Data:       map[string][]byte{defaultSecretKey: []byte(c.password(username))},
	}
}

// defaultSecretKey is the default of spec.password.secretRef.key.
const defaultSecretKey = "password"

// nameOf returns the name of a default user. Those of another system have other names, since they may share a namespace.
func (c *Creator) nameOf(username string) string {
	if c.options.System == "" {
		return username
	}
	return c.options.System + "-" + username
}

func (c *Creator) secretOf(username string) string { return c.nameOf(username) + "-password" }

func (c *Creator) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: c.options.Namespace, Name: name, Labels: map[string]string{
		"app.kubernetes.io/name":       "shardinguser-operator",
		labelComponent:                 "default-users",
		"app.kubernetes.io/managed-by": "shardinguser-operator",
	}}
}

// password returns a random password of at least 130 bits, or else the sharding system's own.
func (c *Creator) password(username string) string {
	if c.options.WellKnown {
		return username + "123"
	}
	return password.Random(max(26, c.options.MinPasswordLength))
}
