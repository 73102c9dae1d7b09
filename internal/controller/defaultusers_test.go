// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/defaultusers"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// A leading is the default users' part of one leader's time.
type leading struct {
	kube    client.Client // the leader's
	store   defaultusers.Store
	options defaultusers.Options
	log     *lockedBuffer
}

// leading is a leader's time that has not begun, over the story's namespace.
func (s *story) leading() *leading {
	s.t.Helper()
	accounts, closeStore := openStore(s.t, s.dsn)
	s.t.Cleanup(closeStore)
	l := &leading{kube: s.kube, store: accounts, log: &lockedBuffer{}}
	l.options = defaultusers.Options{
		Namespace: s.namespace, Watched: []string{s.namespace}, MinPasswordLength: 8,
		Log: funcr.New(func(_, line string) { fmt.Fprintln(l.log, line) }, funcr.Options{}),
	}
	return l
}

// run returns what was logged when it was decided whether there are to be default users, and they are there.
func (l *leading) run(s *story) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), soon)
	defer cancel()
	s.Expect(defaultusers.New(l.kube, l.kube, l.store, l.options).Start(ctx)).To(gomega.Succeed())
	s.Expect(ctx.Err()).NotTo(gomega.HaveOccurred(), "it decided: %s", l.log)
	return l.log.String()
}

// intercepted is the story's client, watched by these functions.
func (s *story) intercepted(funcs interceptor.Funcs) client.Client {
	s.t.Helper()
	ordinary, err := client.NewWithWatch(testenv.APIServer(s.t), client.Options{Scheme: scheme})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	return interceptor.NewClient(ordinary, funcs)
}

// users is the names of the story's ShardingUsers.
func (s *story) users() []string {
	s.t.Helper()
	var list v1alpha1.ShardingUserList
	s.Expect(s.kube.List(s.t.Context(), &list, client.InNamespace(s.namespace))).To(gomega.Succeed())
	names := []string{}
	for _, u := range list.Items {
		names = append(names, u.Name)
	}
	return names
}

// passwords is what the story's Secrets have under the key password, by the Secret's name.
func (s *story) passwords() map[string]string {
	s.t.Helper()
	var list corev1.SecretList
	s.Expect(s.kube.List(s.t.Context(), &list, client.InNamespace(s.namespace))).To(gomega.Succeed())
	passwords := map[string]string{}
	for _, secret := range list.Items {
		passwords[secret.Name] = string(secret.Data["password"])
	}
	return passwords
}

// defaultUser waits until a default user can log in with what its Secret holds.
func (s *story) defaultUser(name string) *v1alpha1.ShardingUser {
	s.t.Helper()
	u := &v1alpha1.ShardingUser{}
	u.Namespace, u.Name = s.namespace, name
	s.ready(u)
	s.Expect(u.Spec.Roles).To(gomega.Equal([]v1alpha1.Role{v1alpha1.Role(name)}))
	s.Expect(s.row(name).Roles).To(gomega.MatchJSON(`["` + name + `"]`))
	s.Expect(s.row(name).isOf(s.passwords()[name+"-password"])).To(gomega.BeTrue(), "the Secret of %s has its password", name)
	return u
}

var (
	defaultNames   = []string{"admin", "operator", "viewer"}
	defaultSecrets = []string{"admin-password", "operator-password", "viewer-password"}
)

const incomplete = "sharding.io/default-users-incomplete"

func TestEmptySystemStartsWithThreeUsersOfRandomPasswords(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	log := s.leading().run(s)
	s.Expect(s.users()).To(gomega.ConsistOf(defaultNames))
	labels := map[string]string{
		"app.kubernetes.io/name": "shardinguser-operator", "app.kubernetes.io/component": "default-users",
		"app.kubernetes.io/managed-by": "shardinguser-operator",
	}
	for _, name := range defaultNames {
		u := s.defaultUser(name)
		s.Expect(u.Labels).To(gomega.Equal(labels))
		s.Expect(u.Annotations).To(gomega.BeEmpty())
		s.Expect(meta.FindStatusCondition(u.Status.Conditions, "WeakPassword")).To(gomega.BeNil())
	}
	var secrets corev1.SecretList
	s.Expect(s.kube.List(t.Context(), &secrets, client.InNamespace(s.namespace), client.MatchingLabels(labels))).To(gomega.Succeed())
	s.Expect(secrets.Items).To(gomega.HaveLen(3))

	passwords := s.passwords()
	different := map[string]bool{}
	for _, password := range passwords {
		s.Expect(len(password)).To(gomega.BeNumerically(">=", 26))
		s.Expect(log).NotTo(gomega.ContainSubstring(password))
		different[password] = true
	}
	s.Expect(different).To(gomega.HaveLen(3))
	s.Expect(log).To(gomega.ContainSubstring("kubectl -n " + s.namespace + " get secret admin-password "))
}

func TestAnEmptySystemReportsItsDefaultPasswordsAsWeak(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	l := s.leading()
	l.options.WellKnown = true
	log := l.run(s)
	s.Expect(s.users()).To(gomega.ConsistOf(defaultNames))
	for _, name := range defaultNames {
		s.condition(s.defaultUser(name), v1alpha1.ConditionWeakPassword, v1alpha1.ReasonWellKnown)
		s.Expect(s.row(name).isOf(name + "123")).To(gomega.BeTrue())
		s.Expect(log).NotTo(gomega.ContainSubstring(name + "123"))
	}
}

func TestSystemThatWasUsedBeforeGetsNoDefaultUsers(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(s *story, l *leading){
		"the table has a row": func(s *story, _ *leading) {
			s.sql(`INSERT INTO users (username, password_hash) VALUES ('theirs', '!')`)
		},
		"there is a ShardingUser": func(s *story, _ *leading) { s.user("alice") },
		"there is one in another namespace that is watched": func(s *story, l *leading) {
			other := s.newNamespace()
			l.options.Watched = append(l.options.Watched, other)
			s.user("alice", in(other))
		},
		"there was a ShardingUser": func(s *story, _ *leading) { s.start(); s.remove(s.readyUser("alice")) },
		"there were default users, and all were deleted with their Secrets": func(s *story, _ *leading) {
			s.start()
			s.leading().run(s)
			for _, name := range defaultNames {
				s.remove(s.defaultUser(name))
			}
			s.Expect(s.kube.DeleteAllOf(s.t.Context(), &corev1.Secret{}, client.InNamespace(s.namespace))).To(gomega.Succeed())
		},
		"there were default users, and the first was deleted with its Secret": func(s *story, _ *leading) {
			s.start()
			s.leading().run(s)
			s.remove(s.defaultUser("admin"))
			s.Expect(s.kube.DeleteAllOf(s.t.Context(), &corev1.Secret{}, client.InNamespace(s.namespace))).To(gomega.Succeed())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			l := s.leading()
			use(s, l)
			before := s.users()
			s.Expect(l.run(s)).To(gomega.ContainSubstring("No default users are created"))
			s.Expect(s.users()).To(gomega.ConsistOf(before))
			s.Expect(s.passwords()).To(gomega.BeEmpty())
		})
	}
}

// defaultUserWrites is what creating the default users writes, in this order.
var defaultUserWrites = []string{"admin-password", "operator-password", "viewer-password", "admin", "operator", "viewer", "the last word"}

func TestNextLeaderFinishesWhatAKilledOneBegan(t *testing.T) {
	t.Parallel()
	for written, next := range defaultUserWrites {
		t.Run("before it wrote "+next, func(t *testing.T) {
			t.Parallel()
			s, _ := begin(t)
			s.leading().killedAfter(s, written)
			before := s.passwords()
			s.Expect(before).To(gomega.HaveLen(min(written, 3)))
			names := s.users()
			s.Expect(names).To(gomega.Equal(defaultNames[:max(0, min(written, 6)-3)]))
			for _, name := range names {
				s.defaultUser(name) // by now the database is in use
			}

			s.leading().run(s)
			s.Expect(s.users()).To(gomega.ConsistOf(defaultNames))
			for _, name := range defaultNames {
				s.Expect(s.defaultUser(name).Annotations).To(gomega.BeEmpty())
			}
			after := s.passwords()
			s.Expect(after).To(gomega.HaveLen(3))
			maps.DeleteFunc(after, func(name, _ string) bool { return before[name] == "" })
			s.Expect(after).To(gomega.Equal(before), "what a killed leader created is used")
		})
	}
}

// killedAfter is a leader that is killed after so many writes.
func (l *leading) killedAfter(s *story, writes int) {
	s.t.Helper()
	ctx, kill := context.WithCancel(s.t.Context())
	defer kill()
	alive := func() error {
		if writes == 0 {
			kill()
			return ctx.Err()
		}
		writes--
		return nil
	}
	l.kube = s.intercepted(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			if err := alive(); err != nil {
				return err
			}
			return c.Create(ctx, o, options...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, options ...client.PatchOption) error {
			if err := alive(); err != nil {
				return err
			}
			return c.Patch(ctx, o, p, options...)
		},
	})
	s.Expect(defaultusers.New(l.kube, l.kube, l.store, l.options).Start(ctx)).To(gomega.Succeed())
	s.Expect(ctx.Err()).To(gomega.HaveOccurred(), "it was killed")
}

func TestAUserDeletedAfterAKilledLeaderDelaysNoOthers(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	s.leading().killedAfter(s, 5) // admin and operator are there
	s.remove(s.defaultUser("admin"))
	s.leading().run(s)
	s.Expect(s.users()).To(gomega.ConsistOf("operator"))
}

func TestSecretThatIsThereIsTakenAsItIs(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	s.secret("operator-password", "password", canary+" of an administrator")
	log := s.leading().run(s)
	s.defaultUser("admin")
	s.defaultUser("operator")
	s.defaultUser("viewer")
	s.Expect(s.passwords()["operator-password"]).To(gomega.Equal(canary + " of an administrator"))
	s.Expect(log).To(gomega.ContainSubstring("operator-password"))
	s.Expect(log).NotTo(gomega.ContainSubstring(canary))
}

func TestObjectsOfAnEarlierTryAreNotLogged(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.secret("viewer-password", "password", canary+" of an administrator")
	l := s.leading()
	refusals := 2
	l.kube = s.intercepted(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			if o.GetName() == "admin" && refusals > 0 {
				refusals--
				return errors.New("not yet")
			}
			return c.Create(ctx, o, options...)
		},
	})
	log := l.run(s)
	s.Expect(s.users()).To(gomega.ConsistOf(defaultNames))
	s.Expect(strings.Count(log, "already exists and is used unchanged")).To(gomega.Equal(1), log)
	s.Expect(log).To(gomega.ContainSubstring("viewer-password"))
}

func TestAnAdminCreatedAtTheSameMomentDecides(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	l := s.leading()
	theirs := &v1alpha1.ShardingUser{Spec: v1alpha1.ShardingUserSpec{Roles: []v1alpha1.Role{"theirs"}}}
	theirs.Namespace, theirs.Name = s.namespace, "admin"
	l.kube = s.intercepted(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			if o.GetName() == "viewer-password" {
				if err := c.Create(ctx, theirs); err != nil {
					return err
				}
			}
			return c.Create(ctx, o, options...)
		},
	})
	l.run(s)
	s.Expect(s.users()).To(gomega.ConsistOf("admin"))
	s.refresh(theirs)
	s.Expect(theirs.Spec.Roles).To(gomega.ConsistOf(v1alpha1.Role("theirs")))
	s.Expect(theirs.Annotations).To(gomega.BeEmpty())
}

func TestAForgedAnnotationMakesNoPassword(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	s.user("admin", annotation(incomplete, "true"))
	l := s.leading()
	l.options.WellKnown = true
	l.run(s)
	s.Expect(s.passwords()).To(gomega.BeEmpty())
	for _, name := range []string{"operator", "viewer"} {
		u := &v1alpha1.ShardingUser{}
		u.Namespace, u.Name = s.namespace, name
		s.reports(u, v1alpha1.ReasonSecretNotFound)
	}
}

func TestRandomPasswordsAreAsLongAsPasswordsHaveToBe(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	l := s.leading()
	l.options.MinPasswordLength = 72
	l.run(s)
	s.Expect(slices.Sorted(maps.Keys(s.passwords()))).To(gomega.Equal(defaultSecrets))
	for _, password := range s.passwords() {
		s.Expect(password).To(gomega.HaveLen(72))
	}
}

// failing is a store that is unavailable for the first calls.
type failing struct {
	defaultusers.Store
	times int
}

func (f *failing) Fresh(ctx context.Context) (bool, error) {
	if f.times > 0 {
		f.times--
		return false, errors.New("the database is unavailable")
	}
	return f.Store.Fresh(ctx)
}

func TestDefaultUsersWaitForBothServersAndReportEachOnce(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	l := s.leading()
	l.store = &failing{Store: l.store, times: 2}
	refusals := 2
	l.kube = s.intercepted(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			if refusals > 0 {
				refusals--
				return errors.New("the API server is unavailable")
			}
			return c.Get(ctx, key, o, options...)
		},
	})
	log := l.run(s)
	s.Expect(s.users()).To(gomega.ConsistOf(defaultNames))
	s.Expect(strings.Count(log, "the API server is unavailable")).To(gomega.Equal(1))
	s.Expect(strings.Count(log, "the database is unavailable")).To(gomega.Equal(1))
}

func TestWaitingForADatabaseThatStaysAwayEndsWithTheManager(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	l := s.leading()
	ctx, cancel := context.WithCancel(t.Context())
	l.store = &failing{times: 1}
	l.options.Log = funcr.New(func(_, _ string) { cancel() }, funcr.Options{}) // it told that it waits
	s.Expect(defaultusers.New(l.kube, l.kube, l.store, l.options).Start(ctx)).To(gomega.Succeed())
	s.Expect(s.users()).To(gomega.BeEmpty())
	s.Expect(s.passwords()).To(gomega.BeEmpty())
}
