// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"golang.org/x/crypto/bcrypt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// TestTheOperatorDoesWhatTheModelSaysInAnyOrder lets random things happen to a few accounts, the operator
// and its way to the database, and compares what comes of them with the model at every quiet point. It prints its seed, by
// which -rapid.seed replays it, and a failure prints the shortest way to it that was found. By -rapid.checks it runs as often
// as one likes, else a few times. A short run makes fewer checks: those of a fixed seed, and as many of a random one.
func TestTheOperatorDoesWhatTheModelSaysInAnyOrder(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.retry = 200 * time.Millisecond
	s.hostility()
	s.openNotes() // past the proxy
	replica := s.newReplica(s.attempts())
	t.Cleanup(replica.Wait)
	var proxy *testenv.Proxy
	proxy, s.dsn = testenv.DatabaseProxy(t, s.dsn)
	p := &pair{proxy: proxy, op: s.start(), replica: replica, words: map[string]string{user.UnusablePassword: unusable}}
	checks, quiet := 0, 0
	check := func(rt *rapid.T) {
		own := *s
		own.WithT = gomega.NewWithT(rt) // a failure is rapid's, who looks for the shortest way to it
		p.story, p.quiet = &own, 0
		p.accounts = nil
		for range 2 {
			p.accounts = append(p.accounts, p.account())
		}
		p.settle()
		rt.Repeat(p.actions())
		p.settle()
		checks, quiet = checks+1, quiet+p.quiet
	}
	seeds := fewChecks(t, check)
	s.Expect(checks).To(gomega.BeNumerically(">", 0))
	testenv.Counted(t, "%d checks with %d quiet points and %d logins; -rapid.seed=%s", checks, quiet, p.logIns, strings.Join(seeds, ", -rapid.seed="))
}

// fewChecks has rapid make a few checks if no other number was asked for: each talks to real servers. It returns the seeds. It
// draws one if none is given: rapid would too, but report it in a failure only.
func fewChecks(t *testing.T, check func(*rapid.T)) (seeds []string) {
	t.Helper()
	asked := map[string]bool{"rapid.seed": flag.Lookup("rapid.seed").Value.String() != "0"} // by RAPID_SEED
	flag.Visit(func(f *flag.Flag) { asked[f.Name] = true })
	number, seeds := "12", []string{fmt.Sprint(1 + rand.Uint64N(1<<63))}
	switch {
	case asked["rapid.seed"]:
		seeds = []string{flag.Lookup("rapid.seed").Value.String()}
	case testing.Short(): // rapid makes a fifth of the checks, and of the steps of each, then
		number, seeds = "30", append([]string{"1"}, seeds...)
	}
	for _, seed := range seeds {
		for name, value := range map[string]string{"rapid.checks": number, "rapid.seed": seed} {
			if asked[name] {
				continue
			}
			if err := flag.Set(name, value); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("-rapid.seed=%s", seed)
		rapid.Check(t, check)
	}
	return seeds
}

var (
	randomRoles     = rapid.SampledFrom([][]v1alpha1.Role{nil, {"viewer"}, {"admin", "viewer"}})
	randomDeletions = rapid.SampledFrom([]v1alpha1.DeletionPolicy{
		v1alpha1.DeletionDelete, v1alpha1.DeletionDeactivate, v1alpha1.DeletionRetain,
	})
	randomSecrets = rapid.SampledFrom([]string{"A", "B", "C", "D", junk, ""})
)

// actions is what may happen. An action that depends on earlier ones waits for a quiet point.
func (p *pair) actions() map[string]func(*rapid.T) {
	one := func(t *rapid.T) *modelled { return rapid.SampledFrom(p.accounts).Draw(t, "account") }
	return map[string]func(*rapid.T){
		"come to rest":     func(*rapid.T) { p.settle() },
		"edit":             func(t *rapid.T) { p.change(t, one(t)) },
		"change Secret":    func(t *rapid.T) { p.rotate(t, one(t)) },
		"touch Secret":     func(t *rapid.T) { p.touch(one(t)) },
		"manage password":  func(t *rapid.T) { p.manage(one(t)) },
		"ask to unlock":    func(t *rapid.T) { p.unlock(one(t)) },
		"pause or resume":  func(t *rapid.T) { p.pause(one(t)) },
		"delete or create": func(t *rapid.T) { p.come(one(t)) },

		"log in":          func(t *rapid.T) { p.logIn(one(t), 1, true) },
		"guess":           func(t *rapid.T) { p.logIn(one(t), 1, false) },
		"guess to a lock": func(t *rapid.T) { p.logIn(one(t), usual.Attempts, false) },

		"failure elsewhere": func(t *rapid.T) {
			p.another(one(t), `failed_login_attempts = failed_login_attempts + 1`, func(r *modelRow) { r.failed++ })
		},
		"lock elsewhere": func(t *rapid.T) {
			p.another(one(t), `failed_login_attempts = 5, locked_until = '2099-01-01'`, func(r *modelRow) { r.failed, r.lock = 5, inForce })
		},
		"lock expires": func(t *rapid.T) {
			p.another(one(t), `locked_until = '2001-01-01' WHERE locked_until IS NOT NULL AND`, func(r *modelRow) {
				if r.lock != noLock {
					r.lock = ranOut
				}
			})
		},
		"login elsewhere": func(t *rapid.T) {
			p.another(one(t), `failed_login_attempts = 0, locked_until = NULL, last_login_at = now() AT TIME ZONE 'UTC'`,
				func(r *modelRow) { r.failed, r.lock, r.loggedIn = 0, noLock, true })
		},
		"drift of roles": func(t *rapid.T) {
			a := one(t)
			if a.hostile != "" {
				return // the table is so to the other program as well
			}
			if a.unsure { // a row that others activate just before the operator keeps a disabled hash that is not ours
				p.settle()
			}
			p.drift(a, `roles = '["root"]', active = NOT active`, func(r *modelRow) {
				r.roles, r.active = `["root"]`, !r.active
			})
		},
		"drift of the password": func(t *rapid.T) {
			p.drift(one(t), `password_hash = '`+theirHash+`'`, func(r *modelRow) { r.hash, r.disabled = "T", false })
		},
		"table refuses":   func(t *rapid.T) { p.hostile(one(t), refuses) },
		"table skips":     func(t *rapid.T) { p.hostile(one(t), skips) },
		"table changes":   func(t *rapid.T) { p.hostile(one(t), changes) },
		"table gives way": func(t *rapid.T) { p.hostile(one(t), "") },

		"row deleted": func(t *rapid.T) { p.dropRow(one(t)) },

		"operator stops": func(*rapid.T) {
			if p.op != nil {
				p.op.stop()
				p.op = nil
			}
		},
		"outage of the database": func(*rapid.T) {
			p.proxy.Cut()
			p.cut = true
		},
	}
}

func (p *pair) change(t *rapid.T, a *modelled) {
	if !a.exists {
		return // there is nothing to edit
	}
	if a.hostile != "" {
		p.settle() // a password that is under way is applied or not, depending on which of the two comes first
	}
	a.roles, a.active, a.deletion = randomRoles.Draw(t, "roles"), rapid.Bool().Draw(t, "active"), randomDeletions.Draw(t, "deletion")
	a.unsure = true
	p.edit(p.resource(a), roles(a.roles...), active(a.active), deletion(a.deletion))
}

func (p *pair) rotate(t *rapid.T, a *modelled) {
	next := randomSecrets.Draw(t, "secret")
	p.settle()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: a.name}}
	switch {
	case next == "":
		p.Expect(client.IgnoreNotFound(p.kube.Delete(p.t.Context(), secret))).To(gomega.Succeed())
	case a.secret == "":
		p.secret(a.name, "password", plainOf(next))
	default:
		p.put(secret, "password", plainOf(next))
	}
	a.secret, a.clears = next, true
}

// touch gives the Secret another version, and the same password.
func (p *pair) touch(a *modelled) {
	if a.secret == "" {
		return
	}
	p.settle()
	p.put(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: a.name}}, "unrelated", fmt.Sprint(p.quiet))
	a.clears = true // it must not, which shows at the next quiet point
}

// manage has the resource name its Secret, or not any more.
func (p *pair) manage(a *modelled) {
	if !a.exists {
		return
	}
	p.settle()
	a.managed, a.clears = !a.managed, true
	if a.managed {
		p.edit(p.resource(a), secretRef(a.name, ""))
	} else {
		p.edit(p.resource(a), func(u *v1alpha1.ShardingUser) { u.Spec.Password = nil })
	}
}

func (p *pair) unlock(a *modelled) {
	if !a.exists {
		return
	}
	p.settle()
	a.unlock, a.clears = a.unlock+"!", true
	p.edit(p.resource(a), annotation(v1alpha1.AnnotationUnlockRequestedAt, a.unlock))
}

func (p *pair) pause(a *modelled) {
	if !a.exists {
		return
	}
	p.settle()
	a.paused, a.clears = !a.paused, true
	p.edit(p.resource(a), annotation(v1alpha1.AnnotationPaused, fmt.Sprint(a.paused)))
}

// come deletes the resource, or creates a new one.
func (p *pair) come(a *modelled) {
	if a.paused || a.hostile != "" {
		return // the deletion, or the adoption, would wait
	}
	p.settle()
	if !a.exists {
		p.create(a)
		return
	}
	p.Expect(p.kube.Delete(p.t.Context(), p.resource(a))).To(gomega.Succeed())
	a.remove()
	a.clears = true
}

// logIn tries a few times through the real login side, with the password of the row or another one.
func (p *pair) logIn(a *modelled, times int, right bool) {
	if a.clears || a.unsure {
		p.settle()
	}
	word := "wrong"
	if right && a.row != nil && a.row.hash != unusable {
		word = a.row.hash
	}
	for range times {
		p.logIns++
		p.Expect(p.replica.try(p.t, a.name, plainOf(word))).To(gomega.Equal(a.logIn(word)), "login of %s", a.name)
	}
}

// another is another program's write of the row, which comes to what effect says.
func (p *pair) another(a *modelled, set string, effect func(*modelRow)) {
	if a.clears {
		p.settle()
	}
	if !strings.Contains(set, "WHERE") {
		set += " WHERE"
	}
	p.sql(`UPDATE users SET `+set+` username = $1`, a.name)
	if a.row != nil {
		effect(a.row)
	}
}

// drift is such a write that the operator corrects.
func (p *pair) drift(a *modelled, set string, effect func(*modelRow)) {
	p.another(a, set, effect)
	a.unsure = true
}

// hostile has the table begin to keep the account's roles as they are, or end that.
func (p *pair) hostile(a *modelled, how hostility) {
	p.settle()
	p.setHostility(a.name, how)
	a.hostile = how
	a.clears = true
}

func (p *pair) dropRow(a *modelled) {
	if a.clears {
		p.settle()
	}
	p.sql(`DELETE FROM users WHERE username = $1`, a.name)
	a.row, a.clears = nil, true
}

// theirHash is of the password T.
var theirHash = func() string {
	hash, err := bcrypt.GenerateFromPassword([]byte(plainOf("T")), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	return string(hash)
}()
