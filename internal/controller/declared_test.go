// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/rows"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// heldLease is the lease of a leader that is not among the story's operators.
const heldLease = "held"

// somebodyLeads makes the operators of a story standbys for good.
func (s *story) somebodyLeads() {
	s.t.Helper()
	s.standby = true
	now := metav1.NowMicro()
	s.Expect(s.kube.Create(s.t.Context(), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: heldLease},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("somebody"), LeaseDurationSeconds: new(int32(3600)), AcquireTime: &now, RenewTime: &now,
		},
	})).To(gomega.Succeed())
}

// countReads counts the Secrets that the operator reads one by one.
func (s *story) countReads() *atomic.Int64 {
	reads := &atomic.Int64{}
	ofOne := regexp.MustCompile(`/secrets/[^/]+$`)
	s.reach = func(config *rest.Config) {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				if ofOne.MatchString(r.URL.Path) {
					reads.Add(1)
				}
				return next.RoundTrip(r)
			})
		})
	}
	return reads
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// accounts waits until so many accounts are declared.
func (s *story) accounts(op *operator, number int) map[string]user.Observed {
	s.t.Helper()
	var accounts map[string]user.Observed
	s.eventually(func(g gomega.Gomega) {
		var err error
		accounts, err = op.declared.Accounts(s.t.Context())
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(accounts).To(gomega.HaveLen(number))
	})
	return accounts
}

// declares waits until an account is declared as check expects it.
func (s *story) declares(op *operator, username string, check func(g gomega.Gomega, account user.Observed)) {
	s.t.Helper()
	s.eventually(func(g gomega.Gomega) {
		accounts, err := op.declared.Accounts(s.t.Context())
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(accounts).To(gomega.HaveKey(username))
		check(g, accounts[username])
	})
}

// isStandInOf tells whether a row has a print that is of this password, disabled where the row is inactive.
func (o *operator) isStandInOf(t *testing.T, row *user.Row, plain string) bool {
	t.Helper()
	hash := user.EnabledHash(row.PasswordHash)
	matches, err := o.hasher.Matches(t.Context(), hash, []byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	return matches && password.IsStandIn(hash) && (hash == row.PasswordHash) == row.Active
}

func TestDeclaredAccountsAreThoseOfResourcesSecretsAndStatuses(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	reads := s.countReads()
	first := s.start()
	s.secret("alice", "password", canary+" alice\n")
	s.secret("bob", "password", aHash)
	s.secret("weak", "password", "admin123", "short", "x")
	alice := s.readyUser("alice", secretRef("alice", ""), roles("operator", "viewer"), annotation(v1alpha1.AnnotationUnlockRequestedAt, "t1"))
	s.readyUser("bob", hashedSecret("bob"), active(false))
	s.readyUser("weak", secretRef("weak", ""))
	s.readyUser("open")
	s.reports(s.user("missing", secretRef("nowhere", "")), v1alpha1.ReasonSecretNotFound)
	s.reports(s.user("short", secretRef("weak", "short")), v1alpha1.ReasonPasswordInvalid)
	s.reports(s.user("a-late-one", username("alice"), secretRef("weak", "")), v1alpha1.ReasonUsernameTaken)
	s.sql(`UPDATE users SET last_login_at = '2026-01-31 12:00:00'`)
	s.lock("alice", "1 hour")
	s.isLocked(alice, true)
	alice.Status.LastLoginTime = nil
	s.eventually(func(g gomega.Gomega) { s.refresh(alice); g.Expect(alice.Status.LastLoginTime).NotTo(gomega.BeNil()) })
	first.stop()

	// Of a new process, on a replica that does not lead, and with none of the database.
	s.somebodyLeads()
	s.user("newcomer", secretRef("alice", ""))
	op := s.start()
	reads.Store(0)
	accounts := s.accounts(op, 7)
	s.Expect(reads.Load()).To(gomega.BeEquivalentTo(4), "each Secret once, and one that does not exist")

	got := accounts["alice"]
	s.Expect(op.isStandInOf(t, got.Row, canary+" alice")).To(gomega.BeTrue())
	s.Expect(got.Row.Roles).To(gomega.ConsistOf("operator", "viewer"))
	s.Expect(got.Row.Active).To(gomega.BeTrue())
	s.Expect(got.Row.FailedLoginAttempts).To(gomega.Equal(5))
	s.Expect(*got.Row.LockedUntil).To(gomega.BeTemporally("==", alice.Status.LockedUntil.Time))
	s.Expect(*got.Row.LastLogin).To(gomega.BeTemporally("==", alice.Status.LastLoginTime.Time))
	s.Expect(got.Ownership.Owner).To(gomega.Equal(user.Owner{
		Cluster: clusterID, Namespace: s.namespace, Name: "alice", UID: string(alice.UID),
	}))
	s.Expect(got.Ownership.UnlockHandled).To(gomega.Equal("t1"))
	s.Expect(*got.Ownership.PasswordChangedAt).To(gomega.BeTemporally("==", alice.Status.PasswordChangedTime.Time))
	s.Expect(accounts["bob"].Row.PasswordHash).To(gomega.Equal(user.DisabledHash(aHash)))
	s.Expect(accounts["bob"].Ownership.PasswordHash).To(gomega.Equal(aHash), "nobody has to apply it again")
	s.Expect(accounts["bob"].Row.Active).To(gomega.BeFalse())
	s.Expect(op.isStandInOf(t, accounts["weak"].Row, "admin123")).To(gomega.BeTrue())
	s.Expect(accounts["weak"].Ownership.PasswordWeak).To(gomega.BeTrue())
	for _, name := range []string{"open", "missing", "short"} {
		s.Expect(accounts[name].Row.PasswordHash).To(gomega.Equal(user.UnusablePassword), name)
	}
	s.Expect(accounts["newcomer"].Ownership).To(gomega.BeNil(), "it was never reconciled")
	s.Expect(op.isStandInOf(t, accounts["newcomer"].Row, canary+" alice")).To(gomega.BeTrue())

	s.accounts(op, 7)
	s.Expect(reads.Load()).To(gomega.BeEquivalentTo(4), "what did not change is not read again")
	s.Expect(op.hasher.Computed() + op.hasher.Compared()).To(gomega.BeZero())
	s.Expect(op.writes.count()).To(gomega.BeZero())
	var prints int
	s.Expect(s.db.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM users WHERE password_hash LIKE '%hmac%')
		+ (SELECT count(*) FROM shardinguser_ownership WHERE password_hash LIKE '%hmac%')`).Scan(&prints)).To(gomega.Succeed())
	s.Expect(prints).To(gomega.BeZero())
}

func TestDeclaredAccountsFollowResourcesAndSecrets(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.somebodyLeads()
	reads := s.countReads()
	op := s.start()
	secret := s.secret("alice", "password", canary+" first")
	u := s.user("alice", secretRef("alice", ""), roles("viewer"))
	s.seenTo(u)
	s.declares(op, "alice", func(g gomega.Gomega, a user.Observed) {
		g.Expect(op.isStandInOf(t, a.Row, canary+" first")).To(gomega.BeTrue())
		g.Expect(a.Ownership).NotTo(gomega.BeNil())
		g.Expect(*a.Ownership.PasswordChangedAt).To(gomega.BeTemporally("==", u.Status.PasswordChangedTime.Time))
	})

	s.edit(u, roles("admin"), active(false))
	s.declares(op, "alice", func(g gomega.Gomega, a user.Observed) {
		g.Expect(a.Row.Roles).To(gomega.ConsistOf("admin"))
		g.Expect(a.Row.Active).To(gomega.BeFalse())
	})
	s.Expect(reads.Load()).To(gomega.BeEquivalentTo(1))

	from := time.Now()
	s.put(secret, "password", canary+" second")
	s.declares(op, "alice", func(g gomega.Gomega, a user.Observed) {
		g.Expect(op.isStandInOf(t, a.Row, canary+" second")).To(gomega.BeTrue())
		g.Expect(*a.Ownership.PasswordChangedAt).To(gomega.BeTemporally(">=", from), "tokens of the former password are good no more")
	})
	s.put(secret, "unrelated", "value")
	s.eventually(func(g gomega.Gomega) {
		s.accounts(op, 1)
		g.Expect(reads.Load()).To(gomega.BeEquivalentTo(3))
	})
	s.declares(op, "alice", func(g gomega.Gomega, a user.Observed) {
		g.Expect(*a.Ownership.PasswordChangedAt).To(gomega.BeTemporally("<=", time.Now()))
		g.Expect(*a.Ownership.PasswordChangedAt).To(gomega.BeTemporally(">=", from))
	})

	// The password in force stays in force, as everywhere.
	s.put(secret, "password", "short")
	s.eventually(func(g gomega.Gomega) {
		s.declares(op, "alice", func(g gomega.Gomega, a user.Observed) {
			g.Expect(op.isStandInOf(t, a.Row, canary+" second")).To(gomega.BeTrue())
		})
		g.Expect(reads.Load()).To(gomega.BeEquivalentTo(4))
	})
	s.remove(secret)
	s.eventually(func(g gomega.Gomega) {
		s.declares(op, "alice", func(g gomega.Gomega, a user.Observed) {
			g.Expect(op.isStandInOf(t, a.Row, canary+" second")).To(gomega.BeTrue())
		})
		g.Expect(reads.Load()).To(gomega.BeEquivalentTo(5))
	})
	s.accounts(op, 1)
	s.Expect(reads.Load()).To(gomega.BeEquivalentTo(5), "a Secret that is missing is not looked for again and again")

	s.edit(u, func(u *v1alpha1.ShardingUser) { u.Spec.Password = nil })
	s.declares(op, "alice", func(g gomega.Gomega, a user.Observed) {
		g.Expect(a.Row.PasswordHash).To(gomega.Equal(user.UnusablePassword))
	})
	s.Expect(s.kube.Delete(t.Context(), u)).To(gomega.Succeed())
	s.accounts(op, 0)
}

// tells makes a status tell something else.
func (s *story) tells(u *v1alpha1.ShardingUser, change func(*v1alpha1.ShardingUserStatus)) {
	s.t.Helper()
	s.refresh(u)
	base := u.DeepCopy()
	change(&u.Status)
	s.Expect(s.kube.Status().Patch(s.t.Context(), u, client.MergeFrom(base))).To(gomega.Succeed())
}

// seenTo makes a resource look as if it had been reconciled once: no replica leads in the story.
func (s *story) seenTo(u *v1alpha1.ShardingUser) {
	s.t.Helper()
	s.tells(u, func(status *v1alpha1.ShardingUserStatus) {
		status.PasswordChangedTime = new(metav1.NewTime(time.Now().Add(-time.Hour).Truncate(time.Second)))
	})
}

func TestWhatIsDeclaredIsKnownWhileTheAPIServerIsAway(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.somebodyLeads()
	var proxy *testenv.Proxy
	s.reach = func(config *rest.Config) {
		server, err := url.Parse(config.Host)
		s.Expect(err).NotTo(gomega.HaveOccurred())
		proxy = testenv.NewProxy(t, server.Host)
		server.Host = proxy.Addr()
		config.Host = server.String()
	}
	op := s.start()
	s.secret("alice", "password", canary+" alice")
	alice := s.user("alice", secretRef("alice", ""))
	s.seenTo(alice)
	s.accounts(op, 1)
	s.user("bob", secretRef("alice", "")) // perhaps seen by then, perhaps not
	for _, away := range []func(){proxy.Cut, proxy.Stall} {
		away()
		from := time.Now()
		accounts, err := op.declared.Accounts(t.Context())
		s.Expect(err).NotTo(gomega.HaveOccurred())
		s.Expect(op.isStandInOf(t, accounts["alice"].Row, canary+" alice")).To(gomega.BeTrue())
		s.Expect(time.Since(from)).To(gomega.BeNumerically("<", prompt))
		_, err = op.declared.Locks(t.Context())
		s.Expect(err).NotTo(gomega.HaveOccurred())
		until := time.Now().Add(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		s.Expect(op.declared.PublishLock(ctx, "alice", lockedUntil(user.Row{LockedUntil: &until}))).NotTo(gomega.Succeed())
		cancel()
		proxy.Restore()
	}
	s.accounts(op, 2)
}

func TestALockOfAnOutageIsPublishedAndKept(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	database := &outage{}
	s.wrap = func(accounts rows.Store) rows.Store {
		database.Store = accounts
		return database
	}
	op := s.start()
	alice, bob := s.readyUser("alice"), s.readyUser("bob")
	late := s.user("late", username("alice"))
	s.reports(late, v1alpha1.ReasonUsernameTaken)
	locks := func() map[string]time.Time {
		locks, err := op.declared.Locks(t.Context())
		s.Expect(err).NotTo(gomega.HaveOccurred())
		return locks
	}
	s.Expect(locks()).To(gomega.BeEmpty())
	database.away.Store(true)

	until := time.Now().Add(time.Hour)
	row := user.Row{FailedLoginAttempts: 5, LockedUntil: &until}
	s.publish(op, "alice", row)
	s.publish(op, "nobody", row)
	s.isLocked(alice, true)
	s.condition(alice, v1alpha1.ConditionLocked, v1alpha1.ReasonTooManyFailedAttempts)
	s.Expect(alice.Status.FailedLoginAttempts).To(gomega.BeEquivalentTo(5))
	s.Expect(alice.Status.LockedUntil.Time).To(gomega.BeTemporally("==", end(until)))
	s.eventually(func(g gomega.Gomega) {
		g.Expect(locks()).To(gomega.HaveKeyWithValue("alice", gomega.BeTemporally("==", end(until))))
	})
	s.Expect(locks()).To(gomega.HaveLen(1))

	// The same again, or a shorter one, is told already.
	shorter := until.Add(-time.Minute)
	for _, row := range []user.Row{row, {FailedLoginAttempts: 5, LockedUntil: &shorter}, {FailedLoginAttempts: 3}} {
		s.publish(op, "alice", row)
	}
	s.refresh(alice)
	s.Expect(alice.Status.LockedUntil.Time).To(gomega.BeTemporally("==", end(until)))
	s.refresh(late)
	s.Expect(late.Status.Locked).To(gomega.BeFalse(), "it is not the owner")

	// The leader reconciles the resource meanwhile, and cannot reach the database.
	s.edit(alice, roles("viewer"))
	s.reports(alice, v1alpha1.ReasonDatabaseUnavailable)
	s.Expect(alice.Status.Locked).To(gomega.BeTrue())
	s.publish(op, "bob", row)
	s.isLocked(bob, true)
	s.Expect(op.metric(t, "shardinguser_lockouts_total")).To(gomega.BeEquivalentTo(2))

	// With the database back, it is the row that says.
	s.lock("alice", "2 hours")
	database.away.Store(false)
	s.ready(alice)
	s.Expect(alice.Status.Locked).To(gomega.BeTrue())
	s.Expect(alice.Status.LockedUntil.Time).To(gomega.BeTemporally(">", until.Add(30*time.Minute)))
	s.told("alice", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventLocked: 1, v1alpha1.ReasonDatabaseUnavailable: 1, v1alpha1.EventUpdated: 1})
	s.edit(bob, roles("viewer"))
	s.ready(bob)
	s.isLocked(bob, false)
}

func TestALockIsNotPublishedOverANewerStatus(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.somebodyLeads()
	op := s.start()
	u := s.user("alice")
	s.accounts(op, 1)
	until := time.Now().Add(time.Hour)
	row := user.Row{FailedLoginAttempts: 5, LockedUntil: &until}
	op.writes.before = func() { s.edit(u, roles("viewer")) }
	err := op.declared.PublishLock(t.Context(), "alice", lockedUntil(row))
	s.Expect(apierrors.IsConflict(err)).To(gomega.BeTrue(), "it says %v", err)
	s.publish(op, "alice", row)
	s.isLocked(u, true)
	s.told("alice", map[string]int{v1alpha1.EventLocked: 1})
}

func TestTheValueOfASecretThatLooksLikeAPrintIsNoHash(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	s.secret("print", "password", op.hasher.StandIn([]byte(canary)))
	u := s.user("alice", hashedSecret("print"))
	s.reports(u, v1alpha1.ReasonPasswordInvalid)
	s.Expect(s.accounts(op, 1)["alice"].Row.PasswordHash).To(gomega.Equal(user.UnusablePassword))
	s.Expect(s.row("alice").Hash).To(gomega.Equal(user.UnusablePassword))
	var secret corev1.Secret
	s.Expect(s.kube.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "print"}, &secret)).To(gomega.Succeed())
	s.put(&secret, "password", aHash)
	s.ready(u)
}

// publish publishes the lock of a row, again where the operator wrote that status itself meanwhile.
func (s *story) publish(op *operator, username string, row user.Row) {
	s.t.Helper()
	s.eventually(func(g gomega.Gomega) {
		g.Expect(op.declared.PublishLock(s.t.Context(), username, lockedUntil(row))).To(gomega.Succeed())
	})
}

// lockedUntil is an account with this row, by our clock.
func lockedUntil(row user.Row) user.Observed { return user.Observed{Now: time.Now(), Row: &row} }

// end is the whole second by which something has ended.
func end(until time.Time) time.Time { return until.Add(time.Second - 1).Truncate(time.Second) }
