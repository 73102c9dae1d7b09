// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/login"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// A run is a scenario that happens to one username.
type run struct {
	*lane
	scenario
	course
	probe
	name  string
	users map[string]types.UID
	known map[string]string // words for hashes

	now      step
	isLast   bool
	overtook bool // what overtakes has happened

	charged  store.Charge       // by a login without a replica
	answered chan login.Outcome // by the login through the replica; nil where there was none
	outcome  login.Outcome
}

// steps is what happens, once faults may.
func (r *run) steps() []step {
	steps := r.when
	overtaking := r.overtakings[r.meanwhile]
	if r.scenario.logsIn != "" {
		steps = []step{{do: (*run).logIn, until: r.when[0].until}}
	}
	switch {
	case r.fault.waits(): // then it happens when its time has come
		return steps
	case r.order == beforehand:
		return []step{overtaking, {do: steps[0].do, until: always}}
	case r.order == afterwards:
		return append(slices.Clone(steps), overtaking)
	case r.order == between:
		return []step{{do: (*run).charge, until: always}, overtaking, {do: (*run).settleCharge, until: always}}
	case r.fault == noFault && r.fate == unsettled:
		return []step{{do: (*run).charge, until: steps[0].until}}
	case r.fault == noFault && r.fate == unmade:
		return nil
	}
	return steps
}

// passes expects that the run has taken its step.
func (r *run) passes(g gomega.Gomega) {
	if r.hasStopped(r) {
		return // the next process handles it
	}
	if r.answered != nil && r.outcome == "" {
		select {
		case r.outcome = <-r.answered:
		default:
		}
		g.Expect(r.outcome).NotTo(gomega.BeEmpty(), "nobody answered")
	}
	if r.isLast && r.overtook && r.fault.waits() {
		return // only its end tells
	}
	if r.fate != unmade {
		r.now.until(g, r)
	}
}

// seldom is how often many runs are checked: to wait for one does not delay the others.
const seldom = 3 * poll

// patience is the deadline for one of hundreds of runs under one operator, whose tests other packages' tests slow down.
const patience = 4 * soon

// waits waits until all that check expects holds.
func (r *run) waits(check func(gomega.Gomega)) {
	r.t.Helper()
	r.Eventually(check).WithTimeout(patience).WithPolling(seldom).Should(gomega.Succeed(), "%v, %v", r.course, r.probeOnly())
}

// probeOnly says where the run is disturbed.
func (r *run) probeOnly() string { return string(r.fault) + " " + r.at.String() }

// seen is what the probe saw so far.
func (r *run) seen() probe {
	r.faults.mu.Lock()
	defer r.faults.mu.Unlock()
	return r.probe
}

// judge checks that a run ends as one that was not disturbed, and reports whether it was disturbed.
func (r *run) judge(t *testing.T) bool {
	t.Helper()
	g := gomega.NewWithT(t)
	want, found := r.lane.ends[r.course]
	g.Expect(found).To(gomega.BeTrue(), "no undisturbed run took the course %v", r.course)
	if r.end(g) != want {
		g.Eventually(func(g gomega.Gomega) { g.Expect(r.end(g)).To(gomega.Equal(want)) }).WithTimeout(patience).WithPolling(poll).
			Should(gomega.Succeed(), "%v, %v", r.course, r.probeOnly())
	}
	saw := r.seen()
	hashed := r.hashed[r.course]
	switch {
	case r.fault.waits(): // what was overtaken need not have been hashed any more
		g.Expect(len(saw.hashes)).To(gomega.BeNumerically("<=", hashed), "passwords hashed: %v, %v", r.course, r.probeOnly())
	case saw.lost:
		g.Expect(saw.hashes).To(gomega.HaveLen(hashed+1), "passwords hashed, one of which was lost: %v, %v", r.course, r.probeOnly())
	default:
		g.Expect(saw.hashes).To(gomega.HaveLen(hashed), "passwords hashed: %v, %v", r.course, r.probeOnly())
	}
	if r.answered != nil {
		r.judgeAnswer(g)
	}
	// How often it reads, or has to begin again, depends on how events come together.
	g.Expect(saw.reached || !r.at.writes() || r.at.nth > 1).To(gomega.BeTrue(), "%s was never reached", r.at)
	return saw.reached
}

// judgeAnswer expects that no login succeeds that is not recorded as a success, and none while the store fails.
func (r *run) judgeAnswer(g gomega.Gomega) {
	g.Expect(r.outcome).NotTo(gomega.BeEmpty(), "the login got no answer")
	if r.outcome == login.Succeeded {
		g.Expect(r.trail(r.name)).To(gomega.ContainElement("success"))
	}
	if isCut := !r.fault.waits() && r.at.logsIn(); isCut && (r.at.call == callCharge || r.logsIn == first) {
		g.Expect(r.outcome).To(gomega.Equal(login.Unavailable))
	}
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
		Trail     []string
	}
	all.Trail = r.trail(r.name)
	if all.Row = r.row(r.name); all.Row != nil {
		all.Row.Hash, all.Row.Version = r.word(all.Row.Hash), ""
		all.Row.Created, all.Row.Updated = time.Time{}, time.Time{}
	}
	if all.Note = r.note(r.name); all.Note != nil {
		all.Note.Revision, all.Note.PasswordHash = 0, r.word(all.Note.PasswordHash)
		all.Note.PasswordVersion = r.age(g, prefixOf(all.Note.PasswordVersion), func(secret *corev1.Secret) string {
			return string(secret.UID) + "/" + secret.ResourceVersion
		})
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
		if r.scenario.logsIn != "" { // changes without a notification show with the next sweep
			u.Status.FailedLoginAttempts, u.Status.LastLoginTime = 0, nil
		}
		u.Status.PasswordSecretVersion = r.age(g, u.Status.PasswordSecretVersion, func(secret *corev1.Secret) string { return secret.ResourceVersion })
		u.ObjectMeta = metav1.ObjectMeta{
			Name: u.Name, Finalizers: u.Finalizers, Generation: u.Generation, DeletionTimestamp: u.DeletionTimestamp,
		}
		all.Resources = append(all.Resources, u)
	}
	text, err := json.MarshalIndent(all, "", " ")
	g.Expect(err).NotTo(gomega.HaveOccurred())
	return strings.ReplaceAll(ofLate.ReplaceAllString(string(text), "of late"), r.name, "NAME")
}

// ofLate is a time that depends on when a run happens. Those that scenarios set do not.
var ofLate = regexp.MustCompile(`20[0-8]\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?`)

// word is the word of the password that a hash is of.
func (r *run) word(hash string) string {
	if word, ok := r.known[hash]; ok {
		return word
	}
	if enabled := user.EnabledHash(hash); enabled != hash {
		return "disabled " + r.word(enabled)
	}
	r.known[hash] = "unknown"
	for _, word := range []string{first, second, third, theirs} {
		if isOf(hash, r.plain(word)) {
			r.known[hash] = word
			break
		}
	}
	return r.known[hash]
}

// age tells whether a version that was recorded is that of the present Secret.
func (r *run) age(g gomega.Gomega, recorded string, of func(*corev1.Secret) string) string {
	if recorded == "" {
		return ""
	}
	secret := &corev1.Secret{}
	g.Expect(r.kube.Get(r.t.Context(), client.ObjectKey{Namespace: r.namespace, Name: r.name}, secret)).To(gomega.Succeed())
	if recorded == of(secret) {
		return "the Secret's"
	}
	return "an old one"
}

// prefixOf is the part of a Password.Version that names the Secret: its UID and its resourceVersion.
func prefixOf(version string) string {
	parts := strings.Split(version, "/")
	return strings.Join(parts[:min(2, len(parts))], "/")
}
