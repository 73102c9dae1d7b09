// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

const (
	// soon is the deadline for what comes by an event. It is far below every resync and every slow retry, and long
	// enough for a machine that is busy with other tests.
	soon = 30 * time.Second
	poll = 40 * time.Millisecond

	// prompt is the bound for what the contract promises within a second. How long it really takes, the benchmarks tell:
	// here a machine that is busy with other tests may take its time, and still each poll, resync and slow retry is longer.
	prompt = 10 * time.Second
)

// eventually waits until all that check expects holds.
func (s *story) eventually(check func(g gomega.Gomega)) {
	s.t.Helper()
	s.Eventually(check).WithTimeout(soon).WithPolling(poll).Should(gomega.Succeed())
}

// An edit changes a ShardingUser that is about to be written.
type edit func(*v1alpha1.ShardingUser)

func secretRef(name, key string) edit {
	return func(u *v1alpha1.ShardingUser) {
		u.Spec.Password = &v1alpha1.PasswordSource{SecretRef: v1alpha1.SecretKeyReference{Name: name, Key: key}}
	}
}

// hashedSecret names a Secret that holds a bcrypt hash, under the key password.
func hashedSecret(name string) edit {
	return func(u *v1alpha1.ShardingUser) {
		secretRef(name, "")(u)
		u.Spec.Password.Format = v1alpha1.PasswordFormatBcrypt
	}
}

func username(name string) edit { return func(u *v1alpha1.ShardingUser) { u.Spec.Username = name } }

func roles(roles ...v1alpha1.Role) edit {
	return func(u *v1alpha1.ShardingUser) { u.Spec.Roles = roles }
}

func active(active bool) edit { return func(u *v1alpha1.ShardingUser) { u.Spec.Active = &active } }

func adopt(policy v1alpha1.AdoptionPolicy) edit {
	return func(u *v1alpha1.ShardingUser) { u.Spec.AdoptionPolicy = policy }
}

func deletion(policy v1alpha1.DeletionPolicy) edit {
	return func(u *v1alpha1.ShardingUser) { u.Spec.DeletionPolicy = policy }
}

func in(namespace string) edit { return func(u *v1alpha1.ShardingUser) { u.Namespace = namespace } }

func annotation(name, value string) edit {
	return func(u *v1alpha1.ShardingUser) { metav1.SetMetaDataAnnotation(&u.ObjectMeta, name, value) }
}

func withoutAnnotation(name string) edit {
	return func(u *v1alpha1.ShardingUser) { delete(u.Annotations, name) }
}

// user creates a ShardingUser of this name.
func (s *story) user(name string, edits ...edit) *v1alpha1.ShardingUser {
	s.t.Helper()
	u := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	for _, change := range edits {
		change(u)
	}
	s.Expect(s.kube.Create(s.t.Context(), u)).To(gomega.Succeed())
	return u
}

// readyUser creates a ShardingUser and waits until it is ready.
func (s *story) readyUser(name string, edits ...edit) *v1alpha1.ShardingUser {
	s.t.Helper()
	u := s.user(name, edits...)
	s.ready(u)
	return u
}

// edit changes a ShardingUser that is there.
func (s *story) edit(u *v1alpha1.ShardingUser, edits ...edit) {
	s.t.Helper()
	s.refresh(u)
	base := u.DeepCopy()
	for _, change := range edits {
		change(u)
	}
	s.Expect(s.kube.Patch(s.t.Context(), u, client.MergeFrom(base))).To(gomega.Succeed())
}

func (s *story) refresh(u *v1alpha1.ShardingUser) {
	s.t.Helper()
	s.Expect(s.kube.Get(s.t.Context(), client.ObjectKeyFromObject(u), u)).To(gomega.Succeed())
}

// remove deletes an object and waits until it is gone.
func (s *story) remove(o client.Object) {
	s.t.Helper()
	s.Expect(s.kube.Delete(s.t.Context(), o)).To(gomega.Succeed())
	s.gone(o)
}

func (s *story) gone(o client.Object) {
	s.t.Helper()
	s.eventually(func(g gomega.Gomega) {
		err := s.kube.Get(s.t.Context(), client.ObjectKeyFromObject(o), o)
		g.Expect(apierrors.IsNotFound(err)).To(gomega.BeTrue(), "%s is still there", o.GetName())
	})
}

// ready waits until the row says what the spec says now.
func (s *story) ready(u *v1alpha1.ShardingUser) { s.t.Helper(); s.reports(u, v1alpha1.ReasonSynced) }

// reports waits until Ready has this reason, for the spec as it is now, and returns the condition.
func (s *story) reports(u *v1alpha1.ShardingUser, reason string) *metav1.Condition {
	s.t.Helper()
	return s.condition(u, v1alpha1.ConditionReady, reason)
}

// condition waits until a condition has this reason, for the spec as it is now.
func (s *story) condition(u *v1alpha1.ShardingUser, kind, reason string) *metav1.Condition {
	s.t.Helper()
	var c *metav1.Condition
	s.eventually(func(g gomega.Gomega) {
		g.Expect(s.kube.Get(s.t.Context(), client.ObjectKeyFromObject(u), u)).To(gomega.Succeed())
		c = meta.FindStatusCondition(u.Status.Conditions, kind)
		g.Expect(c).NotTo(gomega.BeNil(), "%s has no condition %s", u.Name, kind)
		g.Expect(c.Reason).To(gomega.Equal(reason), "%s of %s: %s", kind, u.Name, c.Message)
		g.Expect(c.ObservedGeneration).To(gomega.Equal(u.Generation))
	})
	return c
}

// secret creates a Secret from pairs of a key and a value.
func (s *story) secret(name string, pairs ...string) *corev1.Secret {
	s.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}, Data: map[string][]byte{}}
	for pair := range slices.Chunk(pairs, 2) {
		secret.Data[pair[0]] = []byte(pair[1])
	}
	s.Expect(s.kube.Create(s.t.Context(), secret)).To(gomega.Succeed())
	return secret
}

// put changes one value of a Secret.
func (s *story) put(secret *corev1.Secret, key, value string) {
	s.t.Helper()
	base := secret.DeepCopy()
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	secret.Data[key] = []byte(value)
	s.Expect(s.kube.Patch(s.t.Context(), secret, client.MergeFrom(base))).To(gomega.Succeed())
}

// A row is one row of the table users. Version is another one after every write, also one that changes nothing.
type row struct {
	Hash        string
	Roles       string
	Active      bool
	Created     time.Time
	Updated     time.Time
	LastLogin   *time.Time
	Failed      int
	LockedUntil *time.Time
	Version     string
}

// row is the row of a username; nil where there is none.
func (s *story) row(username string) *row {
	s.t.Helper()
	r := &row{}
	err := s.db.QueryRow(s.t.Context(), `SELECT coalesce(password_hash, ''), roles::text, active, created_at, updated_at,
		last_login_at, failed_login_attempts, locked_until, xmin::text || ctid::text FROM users WHERE username = $1`, username).
		Scan(&r.Hash, &r.Roles, &r.Active, &r.Created, &r.Updated, &r.LastLogin, &r.Failed, &r.LockedUntil, &r.Version)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	s.Expect(err).NotTo(gomega.HaveOccurred())
	return r
}

// note is what the operator noted about a username.
func (s *story) note(username string) *user.Ownership {
	s.t.Helper()
	s.openNotes()
	observed, err := s.store.Observe(s.t.Context(), username)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	return observed.Ownership
}

// openNotes opens the store that notes are read from. Nobody maintains it: that is the operator's business.
func (s *story) openNotes() {
	s.t.Helper()
	if s.store != nil {
		return
	}
	accounts, err := postgres.Open(storeSettings(s.dsn))
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.t.Cleanup(accounts.Close)
	s.store = accounts
}

// trail is the outcomes of attempts to log in to an account, as recorded.
func (s *story) trail(username string) []string {
	s.t.Helper()
	rows, err := s.db.Query(s.t.Context(), `SELECT outcome FROM login_attempts WHERE username = $1 ORDER BY id`, username)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	trail, err := pgx.CollectRows(rows, pgx.RowTo[string])
	s.Expect(err).NotTo(gomega.HaveOccurred())
	return trail
}

// sql runs a statement as another program would, in a session that speaks UTC.
func (s *story) sql(statement string, args ...any) {
	s.t.Helper()
	_, err := s.db.Exec(s.t.Context(), statement, args...)
	s.Expect(err).NotTo(gomega.HaveOccurred())
}

// table creates the table users, as the sharding manager does where it comes first.
func (s *story) table() {
	s.t.Helper()
	s.sql(`CREATE TABLE users (
		username VARCHAR(255) PRIMARY KEY,
		password_hash VARCHAR(255) NOT NULL,
		roles JSONB NOT NULL DEFAULT '[]'::jsonb,
		active BOOLEAN NOT NULL DEFAULT true,
		created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
		updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
		last_login_at TIMESTAMP,
		failed_login_attempts INTEGER NOT NULL DEFAULT 0,
		locked_until TIMESTAMP)`)
}

// events counts what people were told about a ShardingUser, by reason.
func (s *story) events(g gomega.Gomega, name string) map[string]int {
	var list eventsv1.EventList
	g.Expect(s.kube.List(s.t.Context(), &list, client.InNamespace(s.namespace))).To(gomega.Succeed())
	counts := map[string]int{}
	for _, e := range list.Items {
		switch {
		case e.Regarding.Name != name:
		case e.Series != nil:
			counts[e.Reason] += int(e.Series.Count)
		default:
			counts[e.Reason]++
		}
	}
	return counts
}

// told waits until a ShardingUser has exactly these Events, and checks that no more come.
func (s *story) told(name string, want map[string]int) {
	s.t.Helper()
	s.eventually(func(g gomega.Gomega) { g.Expect(s.events(g, name)).To(gomega.Equal(want)) })
	s.Consistently(func(g gomega.Gomega) { g.Expect(s.events(g, name)).To(gomega.Equal(want)) }).
		WithTimeout(500 * time.Millisecond).WithPolling(50 * time.Millisecond).Should(gomega.Succeed())
}
