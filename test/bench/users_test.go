// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// A place is a namespace and a database that one benchmark has for itself, with a manager between the two.
type place struct {
	*manager
	dsn       string
	namespace string
	api       client.WithWatch // an administrator's
	db        *pgx.Conn
}

// newPlace makes a place whose manager has more arguments at will.
func newPlace(b *testing.B, args ...string) *place {
	b.Helper()
	scheme := apiruntime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	api, err := client.NewWithWatch(testenv.APIServer(b), client.Options{Scheme: scheme})
	must(b, err)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-"}}
	must(b, api.Create(b.Context(), namespace))
	p := &place{dsn: testenv.Database(b), namespace: namespace.Name, api: api}
	p.db, err = pgx.Connect(b.Context(), p.dsn)
	must(b, err)
	b.Cleanup(func() { must(b, p.db.Close(context.WithoutCancel(b.Context()))) })
	p.manager = startManager(b, p.dsn, args...)
	return p
}

// account is a user whose password is this key of this Secret; without a Secret the password is not the operator's.
func (p *place) account(name, secret, key string) *v1alpha1.ShardingUser {
	u := &v1alpha1.ShardingUser{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: name},
		Spec:       v1alpha1.ShardingUserSpec{Roles: []v1alpha1.Role{"viewer"}},
	}
	if secret != "" {
		u.Spec.Password = &v1alpha1.PasswordSource{SecretRef: v1alpha1.SecretKeyReference{Name: secret, Key: key}}
	}
	return u
}

func (p *place) secret(name string, values map[string]string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: name}, StringData: values}
}

// create creates the objects, many at once, in about the order in which they are given.
func (p *place) create(b *testing.B, objects ...client.Object) {
	b.Helper()
	group, ctx := errgroup.WithContext(b.Context())
	group.SetLimit(32)
	for _, object := range objects {
		group.Go(func() error { return p.api.Create(ctx, object) })
	}
	must(b, group.Wait())
}

// watch reports each state of the place's users from now on, beginning with those that are there.
func (p *place) watch(b *testing.B) <-chan watch.Event {
	b.Helper()
	w, err := p.api.Watch(b.Context(), &v1alpha1.ShardingUserList{}, client.InNamespace(p.namespace))
	must(b, err)
	b.Cleanup(w.Stop)
	return w.ResultChan()
}

// await reads events until the condition has this status for all of these users.
func (p *place) await(b *testing.B, events <-chan watch.Event, names []string, condition string, status metav1.ConditionStatus) {
	b.Helper()
	missing := sets.New(names...)
	deadline := time.After(patience)
	for len(missing) > 0 {
		select {
		case event, ok := <-events:
			if !ok {
				b.Fatal("the watch ended")
			}
			u, ok := event.Object.(*v1alpha1.ShardingUser)
			if ok && meta.IsStatusConditionPresentAndEqual(u.Status.Conditions, condition, status) {
				missing.Delete(u.Name)
			}
		case <-p.Ended():
			b.Fatal(p.Err())
		case <-deadline:
			b.Fatalf("no %s=%s for %d of %d users after %s", condition, status, len(missing), len(names), patience)
		}
	}
}

// clear deletes the place's users and waits until they are gone, lest the next benchmark's manager meets them.
func (p *place) clear(b *testing.B) {
	b.Helper()
	must(b, p.api.DeleteAllOf(b.Context(), &v1alpha1.ShardingUser{}, client.InNamespace(p.namespace)))
	p.within(b, "the users to be gone", func(ctx context.Context) bool {
		var list v1alpha1.ShardingUserList
		err := p.api.List(ctx, &list, client.InNamespace(p.namespace), client.Limit(1))
		return err == nil && len(list.Items) == 0
	})
}

// change runs a statement.
func (p *place) change(b *testing.B, statement string, arguments ...any) {
	b.Helper()
	_, err := p.db.Exec(b.Context(), statement, arguments...)
	must(b, err)
}

// hashes is the column password_hash by username.
func (p *place) hashes(ctx context.Context) (map[string]string, error) {
	rows, err := p.db.Query(ctx, "SELECT username, password_hash FROM users")
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	var name, hash string
	_, err = pgx.ForEachRow(rows, []any{&name, &hash}, func() error {
		all[name] = hash
		return nil
	})
	return all, err
}

// name of the n-th user.
func name(n int) string { return fmt.Sprintf("user-%04d", n) }

// names of the first n users.
func names(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = name(i)
	}
	return all
}

// passwords are n different ones.
func passwords(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = strings.ToLower(rand.Text())
	}
	return all
}

// pureBcrypt is how long all cores take to hash the passwords, when they do nothing else.
func pureBcrypt(b *testing.B, passwords []string) time.Duration {
	b.Helper()
	begun := time.Now()
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, password := range passwords {
		group.Go(func() error {
			_, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
			return err
		})
	}
	must(b, group.Wait())
	return time.Since(begun)
}
