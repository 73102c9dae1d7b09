// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Rights of the manager beyond those of every ServiceAccount: resource, URLs, names, verbs.
var (
	everywhere = []string{
		"events.events.k8s.io [] [] [create patch]",
		"secrets [] [] [get list watch]",
		"shardingusers.sharding.io [] [] [get list patch watch]",
		"shardingusers.sharding.io/status [] [] [patch]",
	}
	generating      = []string{"secrets [] [] [create get list patch watch]"} // replaces the right to read Secrets
	clusterIdentity = []string{"namespaces [] [kube-system] [get]"}
	readingPolicies = []string{
		"namespaces [] [] [get list watch]", // for their labels, and for the cluster's identity
		"shardinguserpolicies.sharding.io [] [] [get list watch]",
		"shardinguserpolicies.sharding.io/status [] [] [patch]",
	}
	publishing = []string{
		"secrets [] [shardinguser-digest-key] [get patch]", "configmaps [] [] [create]", "configmaps [] [shardinguser-database] [get patch]", "configmaps [] [shardinguser-policies] [get patch]",
	}
	leaderElection  = []string{"leases.coordination.k8s.io [] [] [create get update]", "events [] [] [create]"}
	announcing      = []string{"events.events.k8s.io [] [] [create]"} // config/rbac/role.yaml allows this everywhere
	askingForOthers = []string{                                       // authenticates and authorizes scrapes
		"tokenreviews.authentication.k8s.io [] [] [create]",
		"subjectaccessreviews.authorization.k8s.io [] [] [create]",
	}
)

// can returns the rights of an account in a namespace, in the format of kubectl auth can-i --list.
func (s *story) can(config *rest.Config, namespace string) map[string]bool {
	s.t.Helper()
	kube, err := client.New(config, client.Options{Scheme: scheme})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
	s.Expect(kube.Create(s.t.Context(), review)).To(gomega.Succeed())
	s.Expect(review.Status.Incomplete).To(gomega.BeFalse())
	verbs := map[string][]string{}
	for _, rule := range review.Status.ResourceRules {
		for _, resource := range rule.Resources {
			resource, part, _ := strings.Cut(resource, "/")
			for _, group := range rule.APIGroups {
				for _, name := range append(rule.ResourceNames, make([]string, max(0, 1-len(rule.ResourceNames)))...) {
					line := strings.TrimSuffix(strings.TrimSuffix(resource+"."+group, ".")+"/"+part, "/") + " [] [" + name + "] "
					verbs[line] = append(verbs[line], rule.Verbs...)
				}
			}
		}
	}
	for _, rule := range review.Status.NonResourceRules {
		line := "[" + strings.Join(rule.NonResourceURLs, " ") + "] [] "
		verbs[line] = append(verbs[line], rule.Verbs...)
	}
	lines := map[string]bool{}
	for line, verbs := range verbs {
		slices.Sort(verbs) // rights from several roles come in any order
		lines[line+"["+strings.Join(slices.Compact(verbs), " ")+"]"] = true
	}
	return lines
}

// mayMore returns the rights that the manager's account has in a namespace beyond those of an account without roles.
func (s *story) mayMore(namespace string) []string {
	s.t.Helper()
	nobody, err := plane.ServiceAccount(s.t.Context(), s.namespace, "nobody")
	s.Expect(err).NotTo(gomega.HaveOccurred())
	more, ordinary := s.can(rights, namespace), s.can(nobody, namespace)
	var lines []string
	for line := range more {
		if !ordinary[line] {
			lines = append(lines, line)
		}
	}
	return lines
}

func all(lists ...[]string) []string {
	var joined []string
	for _, list := range lists {
		joined = append(joined, list...)
	}
	return joined
}

// alsoGenerating returns rights with config/generated-passwords.
func alsoGenerating(lists ...[]string) []string {
	return slices.DeleteFunc(all(append(lists, generating)...), func(line string) bool { return line == "secrets [] [] [get list watch]" })
}

// allowGeneration permits the operator to create Secrets in a namespace, as config/generated-passwords/namespaced does.
func (s *story) allowGeneration(namespace string) {
	s.t.Helper()
	manifests, err := os.ReadFile(filepath.Join(root, "config/generated-passwords/namespaced/role.yaml"))
	s.Expect(err).NotTo(gomega.HaveOccurred())
	_, err = plane.Apply(s.t.Context(), strings.ReplaceAll(string(manifests), "namespace: "+tenant, "namespace: "+namespace))
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.mayMore(namespace)).To(gomega.ContainElements(generating)) })
}

// looksAgain edits a user until it is Synced. Without an edit, the operator retries after five minutes, and it caches a
// missing right for some seconds.
func (s *story) looksAgain(u *v1alpha1.ShardingUser) {
	s.t.Helper()
	edits := 0
	s.Eventually(func(g gomega.Gomega) {
		g.Expect(s.kube.Get(s.t.Context(), key(u), u)).To(gomega.Succeed())
		ready := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
		if ready.Reason != v1alpha1.ReasonSynced || ready.ObservedGeneration != u.Generation {
			edits++
			s.edit(u, roles(v1alpha1.Role(fmt.Sprintf("viewer-%d", edits))))
		}
		g.Expect(ready.Reason).To(gomega.Equal(v1alpha1.ReasonSynced), ready.Message)
	}).WithTimeout(2 * soon).WithPolling(2 * time.Second).Should(gomega.Succeed())
}

// Not parallel, like the tests that install something: they concern rights that all managers share.
func TestManagerHasOnlyTheRightsThatItNeeds(t *testing.T) {
	s := newStory(t)
	cluster := all(everywhere, readingPolicies, askingForOthers)
	s.Expect(s.mayMore(s.namespace)).To(gomega.ConsistOf(cluster))
	s.Expect(s.mayMore("kube-system")).To(gomega.ConsistOf(cluster))
	s.Expect(s.mayMore(systemNamespace)).To(gomega.ConsistOf(all(cluster, publishing, leaderElection)))
}

func TestUserRolesCannotWriteStatuses(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	for _, role := range []string{"shardinguser-admin-role", "shardinguser-editor-role", "shardinguser-viewer-role"} {
		account, err := plane.ServiceAccount(t.Context(), s.namespace, role)
		s.Expect(err).NotTo(gomega.HaveOccurred())
		s.kubectl("-n", s.namespace, "create", "rolebinding", role, "--clusterrole="+role, "--serviceaccount="+s.namespace+":"+role)
		s.eventually(soon, func(g gomega.Gomega) { // the API server applies it with a delay
			g.Expect(s.can(account, s.namespace)).To(gomega.HaveKey("shardingusers.sharding.io/status [] [] [get]"))
		})
	}
}

// tenant is the namespace of config/rbac/namespaced.
const tenant = "team-a"

// unvalidated skips schema validation when a config tree is applied again: it was validated when it was installed for all
// stories, and reading all schemas is slow.
const unvalidated = "--validate=false"

// installNamespaced replaces config/default by a tree like config/namespaced until the test ends.
func (s *story) installNamespaced(tree string) {
	s.t.Helper()
	err := s.kube.Create(s.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: tenant}})
	s.Expect(client.IgnoreAlreadyExists(err)).To(gomega.Succeed(), "the namespace stays for later stories")
	s.t.Cleanup(func() {
		ctx := context.WithoutCancel(s.t.Context())
		for _, args := range [][]string{
			{"delete", "--ignore-not-found", "-k", filepath.Join(root, "config/rbac/namespaced")},
			{"delete", "--ignore-not-found", "-f", filepath.Join(root, "config/namespaced/policies/role.yaml")},
			{"apply", unvalidated, "-k", filepath.Join(root, "config/default")},
		} {
			if _, err := plane.Kubectl(ctx, args...); err != nil {
				s.t.Error(err)
			}
		}
		s.clearUsers(tenant)
		for _, kind := range []client.Object{&corev1.Secret{}, &eventsv1.Event{}, &rbacv1.RoleBinding{}, &rbacv1.Role{}} {
			if err := s.kube.DeleteAllOf(ctx, kind, client.InNamespace(tenant)); err != nil {
				s.t.Error(err)
			}
		}
	})
	s.kubectl("apply", unvalidated, "-k", tree)
	s.kubectl("delete", "clusterrolebinding", "shardinguser-manager-rolebinding")
	s.kubectl("delete", "clusterrole", "shardinguser-manager-role")
}

func TestRolesInWatchedNamespacesAreEnough(t *testing.T) {
	s := newStory(t)
	s.installNamespaced(filepath.Join(root, "config/namespaced"))
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.mayMore(tenant)).To(gomega.ConsistOf(all(everywhere, askingForOthers)))
		g.Expect(s.mayMore("kube-system")).To(gomega.ConsistOf(all(clusterIdentity, askingForOthers)))
		g.Expect(s.mayMore(s.namespace)).To(gomega.ConsistOf(askingForOthers))
		g.Expect(s.mayMore(systemNamespace)).To(gomega.ConsistOf(all(askingForOthers, publishing, leaderElection, announcing)))
	})
	blind := s.launchOn(s.dsn, "--watch-namespaces="+tenant).begin(t)
	s.Expect(blind.exit(time.Minute)).To(gomega.Equal(1))
	s.Expect(blind.said()).To(gomega.ContainSubstring("or set --policies=off"))

	p := s.launchOn(s.dsn, "--leader-elect", "--watch-namespaces="+tenant, "--policies=off").begin(t).ready()
	password := s.secret("alice", aHash).DeepCopy()
	password.ObjectMeta = metav1.ObjectMeta{Namespace: tenant, Name: "alice"}
	s.Expect(s.kube.Create(t.Context(), password)).To(gomega.Succeed())
	alice := s.user("alice", in(tenant), secret("alice"), hashed)
	s.reports(2*soon, alice, v1alpha1.ReasonSynced) // the last leader's lease may have to expire
	s.Expect(s.row("alice").Hash).To(gomega.Equal(aHash))
	elsewhere := s.user("elsewhere")
	s.edit(alice, roles("operator"))
	s.reports(soon, alice, v1alpha1.ReasonSynced)
	events := s.kubectl("get", "events.events.k8s.io", "--namespace="+tenant, "-o", "jsonpath={.items[*].reason}")
	s.Expect(strings.Fields(events)).To(gomega.ContainElements(v1alpha1.EventCreated, v1alpha1.EventUpdated))
	s.delete(alice)
	s.gone(soon, alice)
	s.Expect(p.said()).NotTo(gomega.ContainSubstring("forbidden"))

	// Passwords are generated only where that is enabled.
	bob := s.user("bob", in(tenant), secret("bob-login"), generated)
	s.Expect(s.reports(soon, bob, v1alpha1.ReasonGenerationDisabled)).To(gomega.ContainSubstring("turn on config/generated-passwords"))
	s.kubectl("apply", "-f", filepath.Join(root, "config/generated-passwords/namespaced/role.yaml"))
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.mayMore(tenant)).To(gomega.ConsistOf(alsoGenerating(everywhere, askingForOthers)))
		g.Expect(s.mayMore(systemNamespace)).To(gomega.ConsistOf(all(askingForOthers, publishing, leaderElection, announcing)))
	})
	s.looksAgain(bob)
	s.delete(bob)
	s.gone(soon, bob)
	s.Expect(s.rows()).To(gomega.BeEmpty())
	s.Expect(s.kube.Get(t.Context(), key(elsewhere), elsewhere)).To(gomega.Succeed())
	s.Expect(elsewhere.Status.ObservedGeneration).To(gomega.BeEquivalentTo(-1), "the manager ignores namespaces that it does not watch")
}
