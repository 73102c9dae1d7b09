// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const (
	// canary is in every password of the stories except the samples', and in nothing else.
	canary = "c4n4ry"

	// aHash is the hash in the Secrets of stories that do not test hashing. Its password is unknown.
	aHash = "$2b$10$" + "abcdefghijklmnopqrstuu" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ01234"

	soon = 30 * time.Second
	poll = 100 * time.Millisecond
)

// A story has a namespace and a database of its own.
type story struct {
	*gomega.WithT
	t         *testing.T
	site      *site
	kube      client.Client // an administrator's client
	db        *pgxpool.Pool // an administrator's pool
	dsn       string        // the manager's, with its own role
	role      string
	database  string
	namespace string
}

// newStory returns a story with a database on the shared server.
func newStory(t *testing.T) *story {
	t.Helper()
	return storyOn(t, testenv.Server(t))
}

func storyOn(t *testing.T, server *testenv.Postgres) *story {
	t.Helper()
	return storyAt(t, plane, server)
}

func storyAt(t *testing.T, site *site, server *testenv.Postgres) *story {
	t.Helper()
	s := &story{WithT: gomega.NewWithT(t), t: t, site: site}
	admin, err := server.NewDatabase(t.Context())
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.dsn, err = server.NewRole(t.Context(), admin)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	config, err := pgx.ParseConfig(s.dsn)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.role, s.database = config.User, config.Database
	s.db, err = pgxpool.New(t.Context(), admin)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	t.Cleanup(s.db.Close)
	s.sql(`GRANT CREATE ON SCHEMA public TO ` + s.role)

	kube := site.Config()
	s.kube, err = client.New(kube, client.Options{Scheme: scheme})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.namespace = s.newNamespace()
	return s
}

// newNamespace creates a namespace and deletes its users when the test ends. It keeps the namespace: a deletion costs
// kube-controller-manager more than most stories, and would delay the stories that test it.
func (s *story) newNamespace() string {
	s.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "story-"}}
	s.Expect(s.kube.Create(s.t.Context(), namespace)).To(gomega.Succeed())
	s.t.Cleanup(func() { s.clearUsers(namespace.Name) })
	return namespace.Name
}

// clear deletes a namespace with all users in it.
func (s *story) clear(namespace string) {
	ctx := context.WithoutCancel(s.t.Context())
	if err := s.kube.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); client.IgnoreNotFound(err) != nil {
		s.t.Error(err)
	}
	s.clearUsers(namespace)
}

// clearUsers also removes the finalizers, since the manager may have stopped.
func (s *story) clearUsers(namespace string) {
	ctx := context.WithoutCancel(s.t.Context())
	var users v1alpha1.ShardingUserList
	if err := s.kube.List(ctx, &users, client.InNamespace(namespace)); err != nil {
		s.t.Error(err)
	}
	var clearing errgroup.Group
	clearing.SetLimit(8)
	for _, u := range users.Items {
		clearing.Go(func() error {
			patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))
			return errors.Join(client.IgnoreNotFound(s.kube.Patch(ctx, &u, patch)), client.IgnoreNotFound(s.kube.Delete(ctx, &u)))
		})
	}
	if err := clearing.Wait(); err != nil {
		s.t.Error(err)
	}
}

// launch returns the settings of this story's managers: one replica, the story's namespace and its database.
func (s *story) launch(args ...string) launch {
	s.t.Helper()
	return s.launchOn(s.dsn, append([]string{"--watch-namespaces=" + s.namespace}, args...)...)
}

// launchOn is launch with another DSN, and without --watch-namespaces.
func (s *story) launchOn(dsn string, args ...string) launch {
	s.t.Helper()
	config, err := pgx.ParseConfig(dsn)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	return launch{site: s.site, dsn: dsn, args: args, secrets: []string{config.Password}}
}

// start starts a manager and waits until it is ready.
func (s *story) start(args ...string) *process {
	s.t.Helper()
	return s.launch(args...).begin(s.t).ready()
}

// eventually waits until all expectations of check hold. It polls less often if that may take long: many checks start a program.
func (s *story) eventually(within time.Duration, check func(g gomega.Gomega)) {
	s.t.Helper()
	interval := poll
	if within > soon {
		interval = within / 120
	}
	s.Eventually(check).WithTimeout(within).WithPolling(interval).Should(gomega.Succeed())
}

// usually returns how long something takes without a fault: the longest of a few runs. On a machine that is busy with other
// tests, limits grow by a multiple of it.
func (s *story) usually(do func(i int)) time.Duration {
	s.t.Helper()
	longest := time.Duration(0)
	for i := range 3 {
		from := time.Now()
		do(i)
		longest = max(longest, time.Since(from))
	}
	return longest
}

// calm returns how long a status usually takes to report a change.
func (s *story) calm() time.Duration {
	s.t.Helper()
	u := s.readyUser("calm")
	return s.usually(func(i int) {
		s.edit(u, roles(v1alpha1.Role(fmt.Sprint("calm-", i))))
		s.reports(soon, u, v1alpha1.ReasonSynced)
	})
}

// within expects that the time since from is within the limit.
func (s *story) within(limit time.Duration, from time.Time, what string) {
	s.t.Helper()
	took := time.Since(from)
	s.t.Logf("%s: %v, limit %v", what, took.Round(time.Millisecond), limit.Round(time.Millisecond))
	s.Expect(took).To(gomega.BeNumerically("<=", limit), what)
}

// kubectl runs kubectl as an administrator and returns its output.
func (s *story) kubectl(args ...string) string {
	s.t.Helper()
	out, err := plane.Kubectl(s.t.Context(), args...)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	return out
}

// An edit changes a ShardingUser before it is written.
type edit func(*v1alpha1.ShardingUser)

func secret(name string) edit {
	return func(u *v1alpha1.ShardingUser) {
		u.Spec.Password = &v1alpha1.PasswordSource{SecretRef: v1alpha1.SecretKeyReference{Name: name}}
	}
}

func hashed(u *v1alpha1.ShardingUser) { u.Spec.Password.Format = v1alpha1.PasswordFormatBcrypt }

func generated(u *v1alpha1.ShardingUser) { u.Spec.Password.Generate = &v1alpha1.PasswordGeneration{} }

func maxAge(longest time.Duration) edit {
	return func(u *v1alpha1.ShardingUser) { u.Spec.Password.MaxAge = &metav1.Duration{Duration: longest} }
}

func username(name string) edit { return func(u *v1alpha1.ShardingUser) { u.Spec.Username = name } }

func roles(roles ...v1alpha1.Role) edit {
	return func(u *v1alpha1.ShardingUser) { u.Spec.Roles = roles }
}

func in(namespace string) edit { return func(u *v1alpha1.ShardingUser) { u.Namespace = namespace } }

func deletion(policy v1alpha1.DeletionPolicy) edit {
	return func(u *v1alpha1.ShardingUser) { u.Spec.DeletionPolicy = policy }
}

// resource returns a ShardingUser that is not created yet.
func (s *story) resource(name string, edits ...edit) *v1alpha1.ShardingUser {
	u := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	for _, change := range edits {
		change(u)
	}
	return u
}

// user creates a ShardingUser.
func (s *story) user(name string, edits ...edit) *v1alpha1.ShardingUser {
	s.t.Helper()
	u := s.resource(name, edits...)
	s.Expect(s.kube.Create(s.t.Context(), u)).To(gomega.Succeed())
	return u
}

// readyUser creates a ShardingUser and waits until it is ready.
func (s *story) readyUser(name string, edits ...edit) *v1alpha1.ShardingUser {
	s.t.Helper()
	u := s.user(name, edits...)
	s.reports(soon, u, v1alpha1.ReasonSynced)
	return u
}

// edit updates an existing ShardingUser.
func (s *story) edit(u *v1alpha1.ShardingUser, edits ...edit) {
	s.t.Helper()
	base := u.DeepCopy()
	for _, change := range edits {
		change(u)
	}
	s.Expect(s.kube.Patch(s.t.Context(), u, client.MergeFrom(base))).To(gomega.Succeed())
}

// reports waits until Ready has this reason for the current spec, and returns the condition's message.
func (s *story) reports(within time.Duration, u *v1alpha1.ShardingUser, reason string) string {
	s.t.Helper()
	var c *metav1.Condition
	s.eventually(within, func(g gomega.Gomega) {
		g.Expect(s.kube.Get(s.t.Context(), client.ObjectKeyFromObject(u), u)).To(gomega.Succeed())
		c = meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
		g.Expect(c).NotTo(gomega.BeNil(), "%s has no condition Ready", u.Name)
		g.Expect(c.Reason).To(gomega.Equal(reason), "%s: %s", u.Name, c.Message)
		g.Expect(c.ObservedGeneration).To(gomega.Equal(u.Generation))
	})
	return c.Message
}

// delete requests the deletion of an object. gone waits for it.
func (s *story) delete(o client.Object) {
	s.t.Helper()
	s.Expect(s.kube.Delete(s.t.Context(), o)).To(gomega.Succeed())
}

func (s *story) gone(within time.Duration, o client.Object) {
	s.t.Helper()
	s.eventually(within, func(g gomega.Gomega) {
		err := s.kube.Get(s.t.Context(), client.ObjectKeyFromObject(o), o)
		g.Expect(apierrors.IsNotFound(err)).To(gomega.BeTrue(), "%s is still there", o.GetName())
	})
}

// secret creates a Secret with this password.
func (s *story) secret(name, password string) *corev1.Secret {
	s.t.Helper()
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Data:       map[string][]byte{"password": []byte(password)},
	}
	s.Expect(s.kube.Create(s.t.Context(), secret)).To(gomega.Succeed())
	return secret
}

func (s *story) rotate(secret *corev1.Secret, password string) {
	s.t.Helper()
	base := secret.DeepCopy()
	secret.Data["password"] = []byte(password)
	s.Expect(s.kube.Patch(s.t.Context(), secret, client.MergeFrom(base))).To(gomega.Succeed())
}

// A row is a row of the table users. Version changes with every write.
type row struct {
	Username string
	Hash     string
	Roles    string
	Active   bool
	Created  time.Time
	Failed   int
	Version  string
}

const selectRows = `SELECT username, coalesce(password_hash, '') AS hash, roles::text, active, created_at AS created,
	failed_login_attempts AS failed, xmin::text || ctid::text AS version FROM users`

// row returns the row of a username, or nil without a row or a table.
func (s *story) row(username string) *row {
	s.t.Helper()
	found, err := s.db.Query(s.t.Context(), selectRows+` WHERE username = $1`, username)
	if err == nil {
		var r row
		if r, err = pgx.CollectExactlyOneRow(found, pgx.RowToStructByName[row]); err == nil {
			return &r
		}
	}
	var refused *pgconn.PgError
	noTable := errors.As(err, &refused) && refused.Code == "42P01"
	s.Expect(noTable || errors.Is(err, pgx.ErrNoRows)).To(gomega.BeTrue(), "%v", err)
	return nil
}

// rows returns the whole table, by username.
func (s *story) rows() map[string]row {
	s.t.Helper()
	found, err := s.db.Query(s.t.Context(), selectRows)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	all, err := pgx.CollectRows(found, pgx.RowToStructByName[row])
	s.Expect(err).NotTo(gomega.HaveOccurred())
	byName := map[string]row{}
	for _, r := range all {
		byName[r.Username] = r
	}
	return byName
}

func (s *story) sql(statement string, args ...any) {
	s.t.Helper()
	_, err := s.db.Exec(s.t.Context(), statement, args...)
	s.Expect(err).NotTo(gomega.HaveOccurred())
}

// scraperToken returns a token that may read the metrics of all managers except those of their own site.
func scraperToken(t *testing.T) string {
	t.Helper()
	token, err := plane.scraper()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// users returns the current users of the story.
func (s *story) users() []v1alpha1.ShardingUser {
	s.t.Helper()
	var list v1alpha1.ShardingUserList
	s.Expect(s.kube.List(s.t.Context(), &list, client.InNamespace(s.namespace))).To(gomega.Succeed())
	return list.Items
}

func key(o client.Object) client.ObjectKey { return client.ObjectKeyFromObject(o) }
