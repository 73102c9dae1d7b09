// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// A pair is the real thing: operator, API server and database, with a few accounts.
type pair struct {
	*story
	proxy    *testenv.Proxy
	cut      bool
	op       *operator // nil while there is none
	replica  *replica  // whose way to the database nobody cuts
	accounts []*modelled
	words    map[string]string // of the passwords that hashes are of
	quiet    int               // points at which the model was right
	logIns   int
}

// A modelled account is one of the pair's, and what the model says of it.
type modelled struct {
	model
	name string
}

// accountNumber tells accounts of different checks apart.
var accountNumber atomic.Int64

// GoString is how rapid prints it.
func (a *modelled) GoString() string { return a.name }

// account is a new account, with a password.
func (p *pair) account() *modelled {
	a := &modelled{name: fmt.Sprintf("user-%d", accountNumber.Add(1)), model: model{secret: "A"}}
	p.secret(a.name, "password", plainOf(a.model.secret))
	p.create(a)
	return a
}

func (p *pair) create(a *modelled) {
	a.exists, a.managed, a.active, a.roles, a.deletion, a.clears = true, true, true, nil, v1alpha1.DeletionDelete, true
	p.user(a.name, secretRef(a.name, ""), active(true))
}

// resource is the account's, with the name only: edits read it again.
func (p *pair) resource(a *modelled) *v1alpha1.ShardingUser {
	return &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: a.name}}
}

// settle starts operator and database again if they were stopped, and waits until everything is as the model says.
func (p *pair) settle() {
	if p.cut {
		p.proxy.Restore()
		p.cut = false
	}
	if p.op == nil {
		p.op = p.start()
	}
	for _, a := range p.accounts {
		a.converge()
		p.eventually(func(g gomega.Gomega) { p.compare(g, a) })
	}
	p.quiet++
}

func (p *pair) compare(g gomega.Gomega, a *modelled) {
	row := p.row(a.name)
	g.Expect(row != nil).To(gomega.Equal(a.row != nil), "%s has a row", a.name)
	if row != nil {
		g.Expect(p.says(row)).To(gomega.Equal(*a.row), "the row of %s", a.name)
	}
	g.Expect(p.trail(a.name)).To(gomega.Equal(append([]string{}, a.trail...)), "the attempts of %s", a.name)
	note := p.note(a.name)
	g.Expect(note).NotTo(gomega.BeNil())
	if !a.rejected || a.hostile == changes {
		g.Expect(note.State).To(gomega.Equal(a.state()), "of the note about %s", a.name)
	}
	u := p.resource(a)
	err := p.kube.Get(p.t.Context(), client.ObjectKeyFromObject(u), u)
	if !a.exists {
		g.Expect(client.IgnoreNotFound(err)).To(gomega.Succeed())
		g.Expect(err).To(gomega.HaveOccurred(), "%s is still there", a.name)
		return
	}
	g.Expect(err).NotTo(gomega.HaveOccurred())
	ready := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
	g.Expect(ready).NotTo(gomega.BeNil())
	g.Expect(ready.Reason).To(gomega.Equal(a.reason()), "%s: %s", a.name, ready.Message)
	g.Expect(u.Status.ObservedGeneration).To(gomega.Equal(u.Generation))
	g.Expect(u.Status.Locked).To(gomega.Equal(a.row != nil && a.row.lock == inForce), "status.locked of %s", a.name)
	g.Expect(u.Status.LastHandledUnlock).To(gomega.Equal(a.handled))
	if isApplied := !a.rejected || a.hostile == changes; !a.paused && isApplied {
		g.Expect(note.Generation).To(gomega.Equal(u.Generation), "of the note about %s", a.name)
		g.Expect(note.Owner.UID).To(gomega.BeEquivalentTo(u.UID))
		if a.managed && a.usable() {
			g.Expect(note.PasswordVersion).To(gomega.HavePrefix(p.secretVersion(g, a)))
		}
	}
}

// secretVersion is how a note about the present version of the account's Secret begins.
func (p *pair) secretVersion(g gomega.Gomega, a *modelled) string {
	secret := &corev1.Secret{}
	g.Expect(p.kube.Get(p.t.Context(), client.ObjectKey{Namespace: p.namespace, Name: a.name}, secret)).To(gomega.Succeed())
	return string(secret.UID) + "/" + secret.ResourceVersion + "/"
}

// unusable is the word of a password that nothing matches.
const unusable = "unusable"

// plainOf is the password of a word.
func plainOf(word string) string {
	if word == junk {
		return junk
	}
	return canary + " password " + word
}

// says is what a row says, in the model's words.
func (p *pair) says(row *row) modelRow {
	hash := user.EnabledHash(row.Hash)
	if _, known := p.words[hash]; !known {
		for _, word := range []string{"A", "B", "C", "D", "T"} {
			if isOf(hash, plainOf(word)) {
				p.words[hash] = word
				break
			}
		}
	}
	says := modelRow{
		hash: p.words[hash], disabled: hash != row.Hash, roles: row.Roles, active: row.Active, failed: row.Failed, loggedIn: row.LastLogin != nil,
	}
	switch {
	case row.LockedUntil == nil:
	case row.LockedUntil.After(time.Now()):
		says.lock = inForce
	default:
		says.lock = ranOut
	}
	return says
}

// asJSON is roles as Postgres prints them.
func asJSON(roles []v1alpha1.Role) string {
	quoted := make([]string, 0, len(roles))
	for _, role := range roles {
		quoted = append(quoted, strconv.Quote(string(role)))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
