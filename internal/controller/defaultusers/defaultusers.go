// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"

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

// The users that a sharding system starts with. Each has the role of its name, and its password in the Secret
// NAME-password.
var defaultUsers = user.DefaultUsernames()

// labelComponent tells the default users and their Secrets from others.
const labelComponent = "app.kubernetes.io/component"

// annotationIncomplete is on the first of the default users until the others are there.
const annotationIncomplete = "sharding.io/default-users-incomplete"

// Freshness is the store as the default users need it.
type Freshness interface {
	// Fresh tells whether nobody ever used the store. In doubt it is false.
	Fresh(ctx context.Context) (bool, error)
}

// DefaultUsersOptions say where the default users are created, and with which passwords.
type DefaultUsersOptions struct {
	Namespace string

	// Watched are the namespaces in which no ShardingUser may be; none means all.
	Watched []string

	// WellKnown asks for the sharding system's own passwords in place of random ones.
	WellKnown bool

	// MinPasswordLength is the least number of characters of a random password, 72 at most.
	MinPasswordLength int

	// Beginning reads the first accounts of the table, and whether an operator ever kept one in the database. Where it is given,
	// the accounts that the sharding manager made for itself are taken over; nil where they are not.
	Beginning func(ctx context.Context, limit int) (store.Beginning, error)

	Log logr.Logger
}

// DefaultUsers creates the users that a sharding system starts with, at its very first start: while nobody ever used the
// store and there is no ShardingUser. The leader asks once, as soon as API server and store can be asked.
//
// A leader may be killed at any moment. So the Secrets come first, then one user that is marked, then the others, and
// the mark goes last. The next leader finds one of these:
//
//   - No user: everything is created. A Secret that is there already is taken as it is.
//   - The mark: the users that are missing are created. No Secret is, since all of them were there before the mark; and
//     so the mark, which whoever may write a ShardingUser may set, is no way to a password that everybody knows.
//   - Users without the mark, or a store that was used: nothing is created. What people delete stays deleted.
//
// Where the sharding manager's own accounts are taken over, see takeover.go, the mark stays until that is done.
//
// The Secrets have no owner. A user's password is a Secret's that somebody made, here as everywhere else: it is not
// taken away with the user.
type DefaultUsers struct {
	live    client.Reader // reads from the API server: a cache may not have yet what decides
	writer  client.Writer
	store   Freshness
	options DefaultUsersOptions
	there   map[string]bool // what was created, or told to be there already, by an earlier try

	adoption v1alpha1.AdoptionPolicy // of the users that are created
}

// NewDefaultUsers returns what is to be added to the manager.
func NewDefaultUsers(live client.Reader, writer client.Writer, store Freshness, options DefaultUsersOptions) *DefaultUsers {
	return &DefaultUsers{live: live, writer: writer, store: store, options: options, there: map[string]bool{}}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: of all replicas one decides.
func (*DefaultUsers) NeedLeaderElection() bool { return true }

// Start tries until it has decided, and done what it decided, or until ctx ends. It returns no error: what is missing may
// still come, and the manager works without.
func (d *DefaultUsers) Start(ctx context.Context) error {
	told := ""
	retry := wait.Backoff{Duration: firstRetry, Factor: 2, Jitter: 0.2, Steps: 20, Cap: lastRetry}
	_ = retry.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		err := d.decide(ctx)
		switch {
		case err == nil:
			return true, nil
		case ctx.Err() != nil || err.Error() == told:
		case apierrors.IsForbidden(err):
			d.options.Log.Error(err, "Cannot create the default users")
		default:
			d.options.Log.Info("Cannot create the default users yet; it is retried", "error", err.Error())
		}
		told = err.Error()
		return false, nil //nolint:nilerr // told, and tried again
	})
	return nil
}

// decide finds out whether the default users are to be created, or a killed leader's work is to be finished, and does it.
func (d *DefaultUsers) decide(ctx context.Context) error {
	begun, err := d.begun(ctx)
	if err != nil {
		return err
	}
	if !begun {
		if used, err := d.used(ctx); err != nil || used {
			return err
		}
		if err := d.begin(ctx); err != nil {
			return err
		}
	}
	for _, name := range defaultUsers[1:] {
		if err := d.createUnlessThere(ctx, d.user(name)); err != nil {
			return err
		}
	}
	if err := d.takeOver(ctx); err != nil {
		return err
	}
	if err := d.unmark(ctx); err != nil {
		return err
	}
	d.options.Log.Info("The default users exist; the command shows the password of the first one", "command", fmt.Sprintf(
		"kubectl -n %s get secret %s -o jsonpath={.data.%s} | base64 -d", d.options.Namespace, secretOf(defaultUsers[0]), defaultSecretKey))
	return nil
}

// begun tells whether the mark is there.
func (d *DefaultUsers) begun(ctx context.Context) (bool, error) {
	var first v1alpha1.ShardingUser
	err := d.live.Get(ctx, client.ObjectKeyFromObject(d.user(defaultUsers[0])), &first)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("read the ShardingUser %s: %w", defaultUsers[0], err)
	}
	return first.DeletionTimestamp.IsZero() && first.Annotations[annotationIncomplete] != "", nil
}

// used tells whether this is not the very first start, and logs why.
func (d *DefaultUsers) used(ctx context.Context) (bool, error) {
	namespaces := d.options.Watched
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	for _, namespace := range namespaces {
		var users v1alpha1.ShardingUserList
		if err := d.live.List(ctx, &users, client.InNamespace(namespace), client.Limit(1)); err != nil {
			return false, fmt.Errorf("list ShardingUsers: %w", err)
		}
		if len(users.Items) > 0 {
			d.options.Log.Info("No default users are created: ShardingUsers already exist")
			return true, nil
		}
	}
	fresh, err := d.store.Fresh(ctx)
	if err != nil || fresh {
		return false, err
	}
	why := "the database was used before"
	if d.options.Beginning != nil {
		if why, err = d.whyNotOver(ctx); err != nil {
			return false, err
		}
		if why == "" {
			d.options.Log.Info("The default users adopt the accounts of the sharding manager, with new passwords")
			d.adoption = v1alpha1.AdoptionIfUnowned
			return false, nil
		}
	}
	d.options.Log.Info("No default users are created: " + why)
	return true, nil
}

// begin creates all Secrets, and the first user with the mark. Where somebody else creates a user of its name at this
// very moment, that is an error, and reason to decide anew.
func (d *DefaultUsers) begin(ctx context.Context) error {
	for _, name := range defaultUsers {
		if err := d.createUnlessThere(ctx, d.secret(name)); err != nil {
			return err
		}
	}
	first := d.user(defaultUsers[0])
	first.Annotations = map[string]string{annotationIncomplete: "true"}
	return d.create(ctx, first)
}

// unmark says that all users are there. A first user that somebody deleted meanwhile needs no such word.
func (d *DefaultUsers) unmark(ctx context.Context) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:null}}}`, annotationIncomplete)
	err := d.writer.Patch(ctx, d.user(defaultUsers[0]), client.RawPatch(types.MergePatchType, []byte(patch)))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("record that the default users exist: %w", err)
	}
	return nil
}

// createUnlessThere leaves what is there as it is.
func (d *DefaultUsers) createUnlessThere(ctx context.Context, o client.Object) error {
	err := d.create(ctx, o)
	if apierrors.IsAlreadyExists(err) {
		if !d.there[o.GetName()] {
			d.options.Log.Info("The resource already exists and is used unchanged", "name", o.GetName())
		}
		err = nil
	}
	d.there[o.GetName()] = err == nil
	return err
}

func (d *DefaultUsers) create(ctx context.Context, o client.Object) error {
	err := d.writer.Create(ctx, o)
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("create %s: %w; apply config/default-users, which allows it", o.GetName(), err)
	case err != nil:
		return fmt.Errorf("create %s: %w", o.GetName(), err)
	}
	return nil
}

func (d *DefaultUsers) user(name string) *v1alpha1.ShardingUser {
	return &v1alpha1.ShardingUser{
		ObjectMeta: d.meta(name),
		Spec: v1alpha1.ShardingUserSpec{
			Roles:    []v1alpha1.Role{v1alpha1.Role(name)},
			Password: &v1alpha1.PasswordSource{SecretRef: v1alpha1.SecretKeyReference{Name: secretOf(name)}},

			AdoptionPolicy: d.adoption,
		},
	}
}

func (d *DefaultUsers) secret(username string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: d.meta(secretOf(username)),
		Data:       map[string][]byte{defaultSecretKey: []byte(d.password(username))},
	}
}

// defaultSecretKey is the one that a ShardingUser without another one names.
const defaultSecretKey = "password"

func secretOf(username string) string { return username + "-password" }

func (d *DefaultUsers) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: d.options.Namespace, Name: name, Labels: map[string]string{
		"app.kubernetes.io/name":       "shardinguser-operator",
		labelComponent:                 "default-users",
		"app.kubernetes.io/managed-by": "shardinguser-operator",
	}}
}

// password is one that nobody knows, of 130 random bits at least, or else the sharding system's own.
func (d *DefaultUsers) password(username string) string {
	if d.options.WellKnown {
		return username + "123"
	}
	return password.Random(max(26, d.options.MinPasswordLength))
}
