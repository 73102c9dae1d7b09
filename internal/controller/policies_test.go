// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestUserThatNoPolicyPermitsAnyMoreIsDeactivatedUntilOneDoes(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	elsewhere := s.newNamespace()
	op := s.start(elsewhere)
	s.secret("alice", "password", canary+" alice")
	alice := s.readyUser("alice", roles("operator"), secretRef("alice", ""))
	s.secret("bob", "password", aHash)
	bob := s.readyUser("bob", roles("operator", "admin"), hashedSecret("bob"))
	carol := s.readyUser("carol", in(elsewhere))
	dave := s.readyUser("dave", roles("admin"), annotation(v1alpha1.AnnotationPaused, "false"))
	s.edit(dave, annotation(v1alpha1.AnnotationPaused, "true"))
	s.reports(dave, v1alpha1.ReasonPaused)
	row := s.row("bob")

	p := s.policy("operators", grants("operator"))
	s.reports(bob, v1alpha1.ReasonNotPermitted)
	s.Expect(s.condition(bob, v1alpha1.ConditionStalled, v1alpha1.ReasonNotPermitted).Message).
		To(gomega.Equal(`No ShardingUserPolicy permits this user: "` + p.Name + `" does not permit the role "admin".`))
	s.Expect(bob.Status.PermittedBy).To(gomega.BeEmpty())
	after := s.row("bob")
	s.Expect(after.Active).To(gomega.BeFalse())
	s.Expect(after.Roles).To(gomega.Equal(row.Roles))
	s.Expect(after.Hash).To(gomega.Equal(user.DisabledHash(row.Hash)))
	s.Expect(s.reports(carol, v1alpha1.ReasonNotPermitted).Message).To(gomega.ContainSubstring("none selects the namespace"))
	s.Expect(s.row("carol").Active).To(gomega.BeFalse())
	s.reports(dave, v1alpha1.ReasonNotPermitted) // to pause is no way past a policy
	s.Expect(s.row("dave").Active).To(gomega.BeFalse())
	s.told("bob", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.ReasonNotPermitted: 1, v1alpha1.EventDeactivated: 1})
	s.eventually(func(g gomega.Gomega) {
		s.refresh(alice)
		g.Expect(alice.Status.PermittedBy).To(gomega.Equal(p.Name))
	})
	s.Expect(s.row("alice").Active).To(gomega.BeTrue())

	// Later requests are not handled, and earlier changes are not undone.
	s.edit(bob, annotation(v1alpha1.AnnotationUnlockRequestedAt, "now"), roles("operator", "admin", "security"))
	s.reports(bob, v1alpha1.ReasonNotPermitted)
	s.sql(`UPDATE users SET active = true WHERE username = 'bob'`)
	s.eventually(func(g gomega.Gomega) { g.Expect(s.row("bob").Active).To(gomega.BeFalse()) })
	s.eventually(func(g gomega.Gomega) { // it is counted after the write
		g.Expect(op.metric(t, "shardinguser_drift_corrections_total", "active")).To(gomega.BeEquivalentTo(1))
	})
	s.Expect(s.row("bob").Roles).To(gomega.Equal(row.Roles))

	s.amend(p, grants("*"))
	s.ready(bob)
	s.Expect(bob.Status.PermittedBy).To(gomega.Equal(p.Name))
	s.Expect(bob.Status.LastHandledUnlock).To(gomega.Equal("now"))
	s.Expect(s.row("bob").Active).To(gomega.BeTrue())
	s.Expect(s.row("bob").Hash).To(gomega.Equal(row.Hash))
	s.Expect(s.row("bob").Roles).To(gomega.MatchJSON(`["operator", "admin", "security"]`))
	s.Expect(op.metric(t, "shardinguser_drift_corrections_total")).To(gomega.BeEquivalentTo(1), "the way back is no drift")
	s.reports(dave, v1alpha1.ReasonPaused)
	s.Expect(s.row("dave").Active).To(gomega.BeFalse(), "while it is paused nothing it asks for is done")
	s.edit(dave, annotation(v1alpha1.AnnotationPaused, "false"))
	s.ready(dave)

	s.remove(p)
	s.ready(carol)
	s.Expect(s.row("carol").Active).To(gomega.BeTrue())
	s.eventually(func(g gomega.Gomega) {
		s.refresh(alice)
		g.Expect(alice.Status.PermittedBy).To(gomega.BeEmpty())
	})
	s.Expect(op.metric(t, "shardinguser_password_hashes_total")).To(gomega.BeEquivalentTo(1))
}

func TestNewUserThatNoPolicyPermitsGetsNoRowAndLeavesNoTrace(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.table()
	s.start()
	s.policy("viewers", claims("team-*"), grants("viewer"))
	s.sql(`INSERT INTO users (username, password_hash) VALUES ('team-x', 'not ours')`)
	before := s.row("team-x")
	for name, edits := range map[string][]edit{
		"root":   {roles("viewer")},
		"team-a": {roles("viewer", "admin")},
		"team-x": {adopt(v1alpha1.AdoptionIfUnowned)},
		"team-b": {username("admin")},
	} {
		u := s.user(name, edits...)
		s.reports(u, v1alpha1.ReasonNotPermitted)
		s.remove(u)
	}
	s.Expect(s.row("team-x")).To(gomega.Equal(before))
	s.readyUser("team-c", roles("viewer"))
}

func TestOtherLabelsOfANamespaceAreJudgedAgain(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	s.policy("labelled", where("team", "a"))
	u := s.user("alice")
	s.reports(u, v1alpha1.ReasonNotPermitted)
	label := func(value string) {
		t.Helper()
		namespace := &corev1.Namespace{}
		s.Expect(s.kube.Get(t.Context(), client.ObjectKey{Name: s.namespace}, namespace)).To(gomega.Succeed())
		base := namespace.DeepCopy()
		namespace.Labels["team"] = value
		s.Expect(s.kube.Patch(t.Context(), namespace, client.MergeFrom(base))).To(gomega.Succeed())
	}
	label("a")
	s.ready(u)
	label("b")
	s.reports(u, v1alpha1.ReasonNotPermitted)
	s.Expect(s.row("alice").Active).To(gomega.BeFalse())
}

func TestUserOfANamespaceDeletedByForceDelaysNoOther(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.inMemory = true
	namespace := &corev1.Namespace{}
	lost := s.newNamespace()
	first := s.start(lost)
	s.readyUser("alice")
	s.readyUser("orphan", in(lost))
	first.stop()
	s.Expect(s.kube.Get(t.Context(), client.ObjectKey{Name: lost}, namespace)).To(gomega.Succeed())
	s.Expect(s.kube.Delete(t.Context(), namespace)).To(gomega.Succeed())
	s.Expect(s.kube.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace)).To(gomega.Succeed())
	namespace.Spec.Finalizers = nil
	s.Expect(s.kube.SubResource("finalize").Update(t.Context(), namespace)).To(gomega.Succeed())
	s.gone(namespace)

	op := s.start(lost) // which restores the accounts before it does anything else
	s.readyUser("bob")
	s.Expect(op.observed(t, "alice").Row.Active).To(gomega.BeTrue())
	s.Expect(op.observed(t, "orphan").Row.Active).To(gomega.BeFalse(), "nobody knows what is permitted there")
}

func TestAForgedStatusTakesNoUsernameAwayWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a-" + s.namespace}} // is before the story's
	s.Expect(s.kube.Create(t.Context(), other)).To(gomega.Succeed())
	forged := s.user("forged", in(other.Name), username("alice")) // and is older
	op := s.start(other.Name)
	s.policy("alice", claims("alice"))
	alice := s.readyUser("alice")
	s.reports(forged, v1alpha1.ReasonNotPermitted)
	s.eventually(func(g gomega.Gomega) { // a reconcile that was on its way may have replaced the forged status
		s.tells(forged, func(status *v1alpha1.ShardingUserStatus) {
			status.Locked, status.LockedUntil = true, &metav1.Time{Time: time.Now().Add(time.Hour)}
			meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady).Reason = v1alpha1.ReasonSynced
		})
		g.Expect(op.metric(t, "shardinguser_users", "locked")).To(gomega.BeEquivalentTo(1), "the cache has it")
	})
	locks, err := op.declared.Locks(t.Context())
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.Expect(locks).To(gomega.BeEmpty())
	account := s.accounts(op, 1)["alice"]
	s.Expect(account.Ownership.Owner.UID).To(gomega.BeEquivalentTo(alice.UID))
	s.Expect(account.Row.Active).To(gomega.BeTrue())
}

func TestTermsOfTheFirstPolicyReachTheRowsNote(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	secret := s.secret("alice", "password", canary+" short")
	u := s.readyUser("alice", secretRef("alice", ""))
	s.Expect(s.note("alice").Lockout).To(gomega.Equal(user.Lockout{}))
	lockout := func(want user.Lockout, by string) {
		t.Helper()
		s.eventually(func(g gomega.Gomega) {
			g.Expect(s.note("alice").Lockout).To(gomega.Equal(want))
			s.refresh(u)
			g.Expect(u.Status.PermittedBy).To(gomega.Equal(s.policyName(by)))
		})
	}
	minute := metav1.Duration{Duration: time.Minute}
	s.policy("b-strict", locking(v1alpha1.LockoutTerms{Attempts: 3, Duration: &minute, MaxDuration: &metav1.Duration{Duration: time.Hour}}))
	lockout(user.Lockout{Attempts: 3, Duration: time.Minute, Longest: time.Hour}, "b-strict")
	s.policy("a-lax", locking(v1alpha1.LockoutTerms{Attempts: 9}))
	lockout(user.Lockout{Attempts: 9}, "a-lax")
	exempt := s.policy("z-exempt", before(1), locking(v1alpha1.LockoutTerms{Mode: v1alpha1.LockoutExempt}),
		asking(v1alpha1.PasswordTerms{MinLength: 20}))
	lockout(user.Lockout{}, "z-exempt") // whose password stays in force though it is short: it must not be guessed at without end
	s.reports(u, v1alpha1.ReasonPasswordInvalid)
	s.put(secret, "password", canary+" that is long enough")
	lockout(user.Lockout{Exempt: true}, "z-exempt")
	row := s.row("alice")
	s.edit(u, annotation(v1alpha1.AnnotationPaused, "true"))
	s.reports(u, v1alpha1.ReasonPaused)
	s.remove(exempt)
	lockout(user.Lockout{Attempts: 9}, "a-lax") // to pause keeps nobody exempt
	s.Expect(s.row("alice")).To(gomega.Equal(row))
}

func TestPasswordIsAskedWhatThePolicySays(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	short := s.secret("alice", "password", canary+" short", "hash", aHash)
	u := s.readyUser("alice", secretRef("alice", "password"))
	hash := s.row("alice").Hash
	p := s.policy("long", asking(v1alpha1.PasswordTerms{MinLength: 20}))
	s.Expect(s.reports(u, v1alpha1.ReasonPasswordInvalid).Message).To(gomega.ContainSubstring("20"))
	s.Expect(s.row("alice").Hash).To(gomega.Equal(hash), "the old password stays in force")
	s.put(short, "password", canary+" that is long enough")
	s.ready(u)
	s.Expect(s.row("alice").Hash).NotTo(gomega.Equal(hash))
	hash = s.row("alice").Hash
	s.amend(p, asking(v1alpha1.PasswordTerms{MinLength: 24}))
	s.eventually(func(g gomega.Gomega) { g.Expect(s.note("alice").PasswordVersion).To(gomega.HaveSuffix("/24")) })
	s.ready(u)
	s.Expect(s.row("alice").Hash).To(gomega.Equal(hash), "the same password needs no other hash")
	s.Expect(op.metric(t, "shardinguser_password_hashes_total")).To(gomega.BeEquivalentTo(2))

	bob := s.user("bob", hashedSecret("alice"))
	s.Expect(s.reports(bob, v1alpha1.ReasonNotPermitted).Message).To(gomega.ContainSubstring("Bcrypt"))
	s.Expect(s.row("bob")).To(gomega.BeNil())
}

func TestExpiredPasswordIsReportedUntilThereIsAnother(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	secret := s.secret("alice", "password", canary+" alice")
	u := s.readyUser("alice", secretRef("alice", ""))
	s.policy("fresh", asking(v1alpha1.PasswordTerms{MaxAge: &metav1.Duration{Duration: 3 * time.Second}}))
	s.condition(u, v1alpha1.ConditionPasswordExpired, v1alpha1.ReasonMaxAgeExceeded)
	s.ready(u)
	s.Expect(s.row("alice").Active).To(gomega.BeTrue(), "it still works")
	s.eventually(func(g gomega.Gomega) {
		g.Expect(s.events(g, "alice")).To(gomega.HaveKeyWithValue(v1alpha1.ConditionPasswordExpired, 1))
	})
	s.put(secret, "password", canary+" another")
	s.eventually(func(g gomega.Gomega) {
		s.refresh(u)
		g.Expect(meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionPasswordExpired)).To(gomega.BeNil())
	})
}

func TestPoliciesPresentAtTheStartSuspendNoPermittedUser(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.policy("operators", grants("operator"))
	op := s.start()
	alice := s.readyUser("alice", roles("operator"))
	bob := s.user("bob", roles("admin"))
	s.reports(bob, v1alpha1.ReasonNotPermitted)
	row := s.row("alice")
	op.stop()
	s.start()
	s.edit(alice, roles("operator", "operator-2"))
	s.reports(alice, v1alpha1.ReasonNotPermitted) // by the new one
	s.edit(alice, roles("operator"))
	s.ready(alice)
	s.Expect(s.row("bob")).To(gomega.BeNil())
	after := s.row("alice")
	s.Expect(after.Created).To(gomega.Equal(row.Created))
	s.Expect(after.Active).To(gomega.BeTrue())
	s.told("alice", map[string]int{
		v1alpha1.EventCreated: 1, v1alpha1.ReasonNotPermitted: 1, v1alpha1.EventDeactivated: 1, v1alpha1.EventUpdated: 1,
	})
}

func TestRefusedUserThatIsDeletedLeavesNoActiveRowBehind(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	u := s.readyUser("alice", roles("admin"), deletion(v1alpha1.DeletionRetain))
	s.edit(u, annotation(v1alpha1.AnnotationPaused, "true"))
	s.policy("viewers", grants("viewer"))
	s.reports(u, v1alpha1.ReasonNotPermitted)
	s.remove(u)
	s.Expect(s.row("alice").Active).To(gomega.BeFalse())
	s.readyUser("alice", roles("viewer"))
	s.Expect(s.row("alice").Active).To(gomega.BeTrue())
}

func TestOnlyPermittedUsersAreDeclaredWithAnActiveAccount(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	first := s.start()
	s.secret("them", "password", canary+" theirs")
	suspended := s.readyUser("suspended", roles("admin"), secretRef("them", ""))
	victim := s.readyUser("victim", secretRef("them", ""))
	s.policy("viewers", grants("viewer"))
	s.reports(suspended, v1alpha1.ReasonNotPermitted)
	s.ready(victim)
	first.stop()

	// Of those that come while nobody looks, one forges what only the owner's status can say.
	s.somebodyLeads()
	s.user("newcomer", roles("admin"), secretRef("them", ""))
	forger := s.user("forger", username("victim"), roles("admin"), secretRef("them", ""))
	forged := forger.DeepCopy()
	forged.Status.PasswordChangedTime = new(metav1.NewTime(time.Now().Add(-time.Hour)))
	s.Expect(s.kube.Status().Patch(t.Context(), forged, client.MergeFrom(forger))).To(gomega.Succeed())
	op := s.start()
	accounts := s.accounts(op, 2)
	s.Expect(accounts["suspended"].Row.Active).To(gomega.BeFalse())
	s.Expect(accounts["victim"].Row.Active).To(gomega.BeTrue())
	s.Expect(accounts["victim"].Row.Roles).To(gomega.BeEmpty())
	s.Expect(accounts["victim"].Ownership.Owner.Name).To(gomega.Equal("victim"))
}

// frozenWatch lets the operators that are started from now on learn nothing of policies any more, once it is set.
func (s *story) frozenWatch() *atomic.Bool {
	frozen := &atomic.Bool{}
	s.reach = func(config *rest.Config) {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				answer, err := next.RoundTrip(r)
				if err == nil && strings.HasSuffix(r.URL.Path, "/shardinguserpolicies") && r.URL.Query().Has("watch") {
					answer.Body = &frozenBody{ReadCloser: answer.Body, frozen: frozen, done: r.Context().Done()}
				}
				return answer, err
			})
		})
	}
	return frozen
}

type frozenBody struct {
	io.ReadCloser
	frozen *atomic.Bool
	done   <-chan struct{}
}

func (b *frozenBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.frozen.Load() {
		<-b.done
		return 0, io.EOF
	}
	return n, err
}

func TestAFormerLeaderLiftsNoSuspensionByPoliciesThatItRemembers(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	frozen := s.frozenWatch()
	s.start()
	bob := s.readyUser("bob", roles("admin"))
	p := s.policy("all", grants("*"))
	s.eventually(func(g gomega.Gomega) {
		s.refresh(bob)
		g.Expect(bob.Status.PermittedBy).To(gomega.Equal(p.Name))
	})
	frozen.Store(true)
	s.reach = nil
	leader := s.start()
	s.amend(p, grants("viewer"))
	s.reports(bob, v1alpha1.ReasonNotPermitted)
	leader.stop()
	suspended := s.row("bob")
	s.Expect(suspended.Active).To(gomega.BeFalse())

	s.edit(bob, annotation(v1alpha1.AnnotationUnlockRequestedAt, "now")) // which the former one looks at
	s.Consistently(func() *row { return s.row("bob") }).WithTimeout(2 * time.Second).WithPolling(poll).Should(gomega.Equal(suspended))
}
