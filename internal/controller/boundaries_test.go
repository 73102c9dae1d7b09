// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"golang.org/x/crypto/bcrypt"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// TestEveryScenarioEndsTheSameWhateverFailsOrStopsAtAnyOfItsBoundaries runs each scenario once undisturbed, which tells
// its boundaries and its end, and then once for every boundary and every fault: the end is the same, and no password is
// hashed twice that was stored once.
//
// After a call that only reads nothing is different from before it, so such a boundary fails and stops in one way, a
// write in two.
func TestEveryScenarioEndsTheSameWhateverFailsOrStopsAtAnyOfItsBoundaries(t *testing.T) {
	t.Parallel()
	for name, scenario := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disturbEverywhere(t, scenario)
		})
	}
}

// The policies are the whole cluster's, so this one runs beside no other; see policies_test.go.
func TestSuspensionEndsTheSameWhateverFailsOrStopsAtAnyOfItsBoundaries(t *testing.T) {
	disturbEverywhere(t, suspension)
}

// A scenario is what people and other programs do to an account, step by step.
type scenario struct {
	given []step // before anything fails
	when  []step
}

// A step ends when until holds, by what the operator does last because of it.
type step struct {
	do    func(*run)
	until func(gomega.Gomega, *run)
}

// A lane is a story in which many runs happen, under one operator at a time.
type lane struct {
	*story
	*faults
	op      *operator
	process *process
	hashed  int // by operators that were stopped
	runs    int

	disturbed int // runs that came to their boundary
}

// A run is a scenario that happens to one username.
type run struct {
	*lane
	probe
	name  string
	users map[string]types.UID
	known map[string]string // words for hashes
}

func disturbEverywhere(t *testing.T, scenario scenario) {
	t.Helper()
	l := &lane{story: newStory(t), faults: &faults{probes: map[string]*probe{}}}
	l.quick = true
	l.restart()

	reference := l.run(boundary{}, noFault)
	want := l.finish(scenario, reference)[0]
	boundaries, hashes := l.disarm(&reference.probe).calls, l.hashes()

	// One operator lives through all failures, each of another account.
	var failing []*run
	for _, at := range boundaries {
		failing = append(failing, l.run(at, failsBefore))
		if at.writes() {
			failing = append(failing, l.run(at, failsAfter))
		}
	}
	for i, end := range l.finish(scenario, failing...) {
		l.judge(failing[i], end, want)
	}
	l.Expect(l.hashes()).To(gomega.Equal(hashes*(1+len(failing))), "passwords hashed")

	stopped := 0
	for _, at := range boundaries {
		for _, fault := range []fault{stopsBefore, stopsAfter} {
			if fault == stopsAfter && !at.writes() {
				continue
			}
			stopped++
			before, r := l.hashes(), l.run(at, fault)
			l.judge(r, l.finish(scenario, r)[0], want)
			computed := hashes
			if l.disarm(&r.probe).lost {
				computed++
			}
			l.Expect(l.hashes()-before).To(gomega.Equal(computed), "passwords hashed where it %s %s", fault, at)
		}
	}
	t.Logf("%d boundaries, %d runs: 1 undisturbed, %d that fail, %d that stop; %d came to their boundary: %v",
		len(boundaries), l.runs, len(failing), stopped, l.disturbed, boundaries)
}

// restart starts an operator in place of the one that is there.
func (l *lane) restart() {
	l.t.Helper()
	if l.op != nil {
		l.op.stop()
		l.hashed += int(l.op.hasher.Computed()) //nolint:gosec // a handful
	}
	l.process = l.next(l.story)
	l.op = l.start()
}

// hashes is how many passwords were hashed since the lane began.
func (l *lane) hashes() int { return l.hashed + int(l.op.hasher.Computed()) } //nolint:gosec // a handful

// run is a new run.
func (l *lane) run(at boundary, fault fault) *run {
	l.runs++
	return &run{
		lane: l, probe: probe{at: at, fault: fault}, name: fmt.Sprintf("run-%d", l.runs),
		users: map[string]types.UID{}, known: map[string]string{"": "none", user.UnusablePassword: "unusable"},
	}
}

// finish lets runs happen side by side, and returns their ends.
func (l *lane) finish(scenario scenario, runs ...*run) (ends []string) {
	l.t.Helper()
	steps := func(steps []step) {
		for _, step := range steps {
			for _, r := range runs {
				step.do(r)
			}
			for _, r := range runs {
				r.waits(func(g gomega.Gomega) { step.until(g, r) })
			}
		}
	}
	steps(scenario.given)
	for _, r := range runs {
		l.arm(&r.probe, r.name, r.rival())
	}
	steps(scenario.when)
	for _, r := range runs {
		ends = append(ends, r.end(l))
	}
	return ends
}

// waits waits until all that check expects holds. An operator that was stopped is replaced meanwhile.
func (r *run) waits(check func(gomega.Gomega)) {
	r.t.Helper()
	r.Eventually(func(g gomega.Gomega) {
		if r.process.isStopped() {
			r.restart()
		}
		check(g)
	}).WithTimeout(soon).WithPolling(poll).Should(gomega.Succeed(), "it %s %s", r.fault, r.at)
}

// judge sees to it that a run was disturbed, and ends as one that was not.
func (l *lane) judge(r *run, end, want string) {
	l.t.Helper()
	if end != want {
		r.waits(func(g gomega.Gomega) { g.Expect(r.end(g)).To(gomega.Equal(want)) })
	}
	// How often it reads, or finds that it has to begin anew, depends on how events come together.
	reached := l.disarm(&r.probe).reached
	if reached {
		l.disturbed++
	}
	l.Expect(reached || !r.at.writes() || r.at.nth > 1).To(gomega.BeTrue(), "%s was never reached", r.at)
}

// rival is the name of another resource that is after the same username.
func (r *run) rival() string { return r.name + "-rival" }

// password has the account's Secret hold the password of this word.
func (r *run) password(word string) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: r.name}}
	err := r.kube.Create(r.t.Context(), secret)
	r.Expect(err == nil || apierrors.IsAlreadyExists(err)).To(gomega.BeTrue(), "%v", err)
	r.put(secret, "password", r.plain(word))
}

func (r *run) plain(word string) string { return canary + " " + r.name + " " + word }

// user creates a resource.
func (r *run) user(name string, edits ...edit) {
	r.users[name] = r.lane.user(name, edits...).UID
}

// resource is a resource as it is now; nil where there is none.
func (r *run) resource(g gomega.Gomega, name string) *v1alpha1.ShardingUser {
	u := &v1alpha1.ShardingUser{}
	err := r.kube.Get(r.t.Context(), client.ObjectKey{Namespace: r.namespace, Name: name}, u)
	if apierrors.IsNotFound(err) {
		return nil
	}
	g.Expect(err).NotTo(gomega.HaveOccurred())
	return u
}

// end is all that there is about the account, in words that do not depend on the run: no times, no versions.
func (r *run) end(g gomega.Gomega) string {
	var all struct {
		Row       *row
		Note      *user.Ownership
		Resources []*v1alpha1.ShardingUser
	}
	if all.Row = r.row(r.name); all.Row != nil {
		all.Row.Hash, all.Row.Version = r.word(all.Row.Hash), ""
		all.Row.Created, all.Row.Updated = time.Time{}, time.Time{}
	}
	if all.Note = r.note(r.name); all.Note != nil {
		all.Note.Revision, all.Note.PasswordHash = 0, r.word(all.Note.PasswordHash)
		all.Note.PasswordVersion = r.version(g, all.Note.PasswordVersion)
		all.Note.PasswordChangedAt = isSet(all.Note.PasswordChangedAt)
		if all.Note.Owner.UID == string(r.users[all.Note.Owner.Name]) {
			all.Note.Owner.UID = "of the last resource"
		}
	}
	for _, name := range []string{r.name, r.rival()} {
		u := r.resource(g, name)
		if u == nil {
			continue
		}
		slices.SortFunc(u.Status.Conditions, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
		for i := range u.Status.Conditions {
			u.Status.Conditions[i].LastTransitionTime = metav1.Time{}
		}
		if u.Status.PasswordChangedTime != nil {
			u.Status.PasswordChangedTime = &metav1.Time{}
		}
		u.ObjectMeta = metav1.ObjectMeta{
			Name: u.Name, Finalizers: u.Finalizers, Generation: u.Generation, DeletionTimestamp: u.DeletionTimestamp,
		}
		all.Resources = append(all.Resources, u)
	}
	text, err := json.MarshalIndent(all, "", " ")
	g.Expect(err).NotTo(gomega.HaveOccurred())
	return strings.ReplaceAll(string(text), r.name, "NAME")
}

func isSet(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	return &time.Time{}
}

// word is the word of the password that a hash is of.
func (r *run) word(hash string) string {
	if word, ok := r.known[hash]; ok {
		return word
	}
	r.known[hash] = "unknown"
	for _, word := range []string{first, second, theirs} {
		if bcrypt.CompareHashAndPassword([]byte(hash), []byte(r.plain(word))) == nil {
			r.known[hash] = word
		}
	}
	return r.known[hash]
}

// version tells whether a Secret's version that was noted is the present one.
func (r *run) version(g gomega.Gomega, noted string) string {
	if noted == "" {
		return ""
	}
	secret := &corev1.Secret{}
	g.Expect(r.kube.Get(r.t.Context(), client.ObjectKey{Namespace: r.namespace, Name: r.name}, secret)).To(gomega.Succeed())
	if strings.HasPrefix(noted, string(secret.UID)+"/"+secret.ResourceVersion+"/") {
		return "the Secret's"
	}
	return "an old one"
}
