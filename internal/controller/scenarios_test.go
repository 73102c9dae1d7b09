// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"maps"

	"github.com/onsi/gomega"
	"golang.org/x/crypto/bcrypt"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Words of passwords, each of which is another one in each run.
const (
	first  = "first"
	second = "second"
	third  = "third"
	theirs = "theirs" // of a row that another program made
)

// scenarios are what happens to accounts, by the sentence's end that names them.
var scenarios = func() map[string]scenario {
	all := map[string]scenario{}
	for _, some := range []map[string]scenario{creations, edits, removals, contests, logIns, hostilities} {
		maps.Copy(all, some)
	}
	return all
}()

var creations = map[string]scenario{
	"creation with a password": {
		given:       steps(func(r *run) { r.password(first) }, always),
		when:        steps(func(r *run) { r.user(r.name, roles("viewer"), secretRef(r.name, "")) }, ready),
		overtakings: overtakings("an edit", "a rotation"),
		wired:       true,
	},
	"adoption": {
		given: steps(insert, always),
		when: steps(func(r *run) {
			r.password(first)
			create(secretRef(r.name, ""), adopt(v1alpha1.AdoptionIfUnowned))(r)
		}, ready),
		overtakings: overtakings("an edit", "a rotation"),
		wired:       true,
	},
	"refusal to adopt": {
		given: steps(insert, always),
		when:  steps(create(), is(v1alpha1.ReasonRowExists)),
		overtakings: map[string]step{
			"permission to adopt": {change(adopt(v1alpha1.AdoptionIfUnowned)), ready},
		},
	},
}

var edits = map[string]scenario{
	"edit of the roles": {
		given:       steps(create(roles("viewer")), ready),
		when:        steps(change(roles("viewer", "operator")), ready),
		overtakings: overtakings("an edit", "drift", "a lock"),
		wired:       true,
	},
	// It clears the lock that the status reports.
	"rotation of a locked user's password": {
		given:       append(withPassword(), steps(lock, locked)...),
		when:        steps(func(r *run) { r.password(second) }, unlocked),
		overtakings: overtakings("an edit", "a rotation"),
		wired:       true,
	},
	"lock by SQL": {
		given:       steps(create(), ready),
		when:        steps(lock, locked),
		overtakings: overtakings("an edit", "the end of the lock"),
	},
	"unlock by annotation": {
		given: append(steps(create(), ready), steps(lock, locked)...),
		when: steps(change(annotation(v1alpha1.AnnotationUnlockRequestedAt, "now")), func(g gomega.Gomega, r *run) {
			unlocked(g, r)
			g.Expect(r.resource(g, r.name).Status.LastHandledUnlock).To(gomega.Equal("now"))
		}),
		overtakings: overtakings("an edit", "drift"),
	},
	"roles that another program changed": {
		given: steps(create(roles("viewer")), ready),
		when: steps(func(r *run) { r.sql(`UPDATE users SET roles = '["admin"]' WHERE username = $1`, r.name) },
			func(g gomega.Gomega, r *run) { g.Expect(r.row(r.name).Roles).To(gomega.MatchJSON(`["viewer"]`)) }),
		overtakings: overtakings("an edit", "drift"),
	},
	"row that another program deleted": {
		given: withPassword(),
		when: steps(func(r *run) { r.sql(`DELETE FROM users WHERE username = $1`, r.name) },
			func(g gomega.Gomega, r *run) { g.Expect(r.row(r.name)).NotTo(gomega.BeNil()) }),
		overtakings: map[string]step{
			"an edit": overtaking["an edit"],
			"the row's return": {func(r *run) {
				r.sql(`INSERT INTO users (username, password_hash, roles) VALUES ($1, 'theirs', '["theirs"]') ON CONFLICT DO NOTHING`, r.name)
			}, ready},
		},
	},
}

var removals = map[string]scenario{
	"deletion by Delete": {
		given: withPassword(), when: steps(remove, gone), overtakings: overtakings("another program's roles"), wired: true,
	},
	"deletion by Deactivate": {
		given: withPassword(deletion(v1alpha1.DeletionDeactivate)), when: steps(remove, gone), overtakings: overtakings("a lock unseen"),
	},
	"deletion by Retain": {
		given: withPassword(deletion(v1alpha1.DeletionRetain)), when: steps(remove, released), overtakings: overtakings("a lock unseen"),
		wired: true,
	},
	"deletion and a new resource of the name": {
		given: withPassword(roles("admin")),
		when:  append(steps(remove, gone), steps(create(roles("viewer")), ready)...),
	},
}

var contests = map[string]scenario{
	"name that two resources want": {
		given: steps(create(roles("viewer")), ready),
		when: append(steps(func(r *run) { r.user(r.rival(), username(r.name), roles("operator")) }, rivalIs(v1alpha1.ReasonUsernameTaken)),
			steps(remove, rivalIs(v1alpha1.ReasonSynced))...),
		overtakings: map[string]step{"an edit of the other one": {func(r *run) {
			r.edit(r.resource(r, r.rival()), roles("admin"))
		}, func(g gomega.Gomega, r *run) {
			g.Expect(r.resource(g, r.rival()).Generation).To(gomega.BeEquivalentTo(2))
		}}},
	},
}

// suspension is by a policy of each run's own, and the way back.
var suspension = scenario{
	given: steps(func(r *run) {
		r.policy(r.name, claims(v1alpha1.Glob(r.name)), grants("*"))
		r.user(r.name, roles("admin"))
	}, ready),
	when: append(
		steps(func(r *run) { r.amend(r.ownPolicy(), grants("viewer")) }, is(v1alpha1.ReasonNotPermitted)),
		steps(func(r *run) { r.amend(r.ownPolicy(), grants("*")) }, ready)...),
	overtakings: overtakings("a lock"),
}

// overtaking is what may happen while a call is under way, and comes to the same whenever it does.
var overtaking = map[string]step{
	"an edit":    {change(roles("overtaker")), ready},
	"a rotation": {func(r *run) { r.password(third) }, func(g gomega.Gomega, r *run) { g.Expect(r.word(r.row(r.name).Hash)).To(gomega.Equal(third)) }},
	"drift": {
		func(r *run) { r.sql(`UPDATE users SET roles = '["root"]', active = false WHERE username = $1`, r.name) },
		func(g gomega.Gomega, r *run) { g.Expect(r.row(r.name).Active).To(gomega.BeTrue()) },
	},
	"a lock":                  {lock, locked},
	"a lock unseen":           {lock, always},
	"the end of the lock":     {func(r *run) { r.sql(`UPDATE users SET locked_until = NULL WHERE username = $1`, r.name) }, unlocked},
	"another program's roles": {func(r *run) { r.sql(`UPDATE users SET roles = '["theirs"]' WHERE username = $1`, r.name) }, always},
	"deactivation":            {change(active(false)), func(g gomega.Gomega, r *run) { ready(g, r); g.Expect(r.row(r.name).Active).To(gomega.BeFalse()) }},
	"an unlocking": {change(annotation(v1alpha1.AnnotationUnlockRequestedAt, "later")), func(g gomega.Gomega, r *run) {
		g.Expect(r.resource(g, r.name).Status.LastHandledUnlock).To(gomega.Equal("later"))
	}},
}

func overtakings(names ...string) map[string]step {
	some := map[string]step{}
	for _, name := range names {
		step, found := overtaking[name]
		if !found {
			panic(name)
		}
		some[name] = step
	}
	return some
}

func steps(do func(*run), until func(gomega.Gomega, *run)) []step {
	return []step{{do: do, until: until}}
}

func create(edits ...edit) func(*run) { return func(r *run) { r.user(r.name, edits...) } }

func change(edits ...edit) func(*run) {
	return func(r *run) { r.edit(r.resource(r, r.name), edits...) }
}

func withPassword(edits ...edit) []step {
	return steps(func(r *run) {
		r.password(first)
		r.user(r.name, append(edits, secretRef(r.name, ""))...)
	}, ready)
}

func remove(r *run) {
	r.Expect(r.kube.Delete(r.t.Context(), r.resource(r, r.name))).To(gomega.Succeed())
}

// insert makes a row as another program would.
func insert(r *run) {
	hash, err := bcrypt.GenerateFromPassword([]byte(r.plain(theirs)), bcrypt.MinCost)
	r.Expect(err).NotTo(gomega.HaveOccurred())
	r.sql(`INSERT INTO users (username, password_hash, roles) VALUES ($1, $2, '["theirs"]')`, r.name, string(hash))
}

// lock locks until a time that is the same in all runs.
func lock(r *run) {
	r.sql(`UPDATE users SET failed_login_attempts = 5, locked_until = '2099-01-01' WHERE username = $1`, r.name)
}

func (r *run) ownPolicy() *v1alpha1.ShardingUserPolicy {
	p := &v1alpha1.ShardingUserPolicy{}
	r.Expect(r.kube.Get(r.t.Context(), client.ObjectKey{Name: r.policyName(r.name)}, p)).To(gomega.Succeed())
	return p
}

func always(gomega.Gomega, *run) {}

func ready(g gomega.Gomega, r *run) { is(v1alpha1.ReasonSynced)(g, r) }

func is(reason string) func(gomega.Gomega, *run) {
	return func(g gomega.Gomega, r *run) { r.hasReason(g, r.name, reason) }
}

func rivalIs(reason string) func(gomega.Gomega, *run) {
	return func(g gomega.Gomega, r *run) { r.hasReason(g, r.rival(), reason) }
}

func (r *run) hasReason(g gomega.Gomega, name, reason string) {
	u := r.resource(g, name)
	g.Expect(u).NotTo(gomega.BeNil())
	c := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
	g.Expect(c).NotTo(gomega.BeNil())
	g.Expect(c.Reason).To(gomega.Equal(reason), "%s", c.Message)
	g.Expect(u.Status.ObservedGeneration).To(gomega.Equal(u.Generation))
}

func locked(g gomega.Gomega, r *run) {
	g.Expect(r.resource(g, r.name).Status.Locked).To(gomega.BeTrue())
}

func unlocked(g gomega.Gomega, r *run) {
	g.Expect(r.resource(g, r.name).Status.Locked).To(gomega.BeFalse())
}

func gone(g gomega.Gomega, r *run) { g.Expect(r.resource(g, r.name)).To(gomega.BeNil()) }

// released waits for the ownership record too: the policy Retain does not wait for an unavailable database.
func released(g gomega.Gomega, r *run) {
	gone(g, r)
	g.Expect(r.row(r.name)).NotTo(gomega.BeNil())
}
