// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

var defaultNames = []string{"admin", "operator", "viewer"}

// Rights of the manager in the namespace of the default users: everywhere, and create.
var whereDefaultUsersAre = []string{
	"events.events.k8s.io [] [] [create patch]",
	"secrets [] [] [create get list watch]",
	"shardingusers.sharding.io [] [] [create get list patch watch]",
	"shardingusers.sharding.io/status [] [] [patch]",
}

// withDefaultUsers returns a copy of a config tree with the default users enabled.
func (s *story) withDefaultUsers(tree string) string {
	s.t.Helper()
	return s.turnedOn(tree, "../default-users")
}

// turnedOn returns a copy of a config tree in which the line of a component is uncommented.
func (s *story) turnedOn(tree, component string) string {
	s.t.Helper()
	folder := s.t.TempDir()
	s.Expect(os.CopyFS(folder, os.DirFS(filepath.Join(root, "config")))).To(gomega.Succeed())
	file := filepath.Join(folder, tree, "kustomization.yaml")
	content, err := os.ReadFile(file)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	on := strings.Replace(string(content), "#- "+component, "- "+component, 1)
	s.Expect(on).NotTo(gomega.Equal(string(content)))
	s.Expect(os.WriteFile(file, []byte(on), 0o600)).To(gomega.Succeed())
	return filepath.Join(folder, tree)
}

// allowDefaultUsers applies config/default with the default users until the test ends.
func (s *story) allowDefaultUsers() {
	s.t.Helper()
	s.t.Cleanup(func() {
		ctx := context.WithoutCancel(s.t.Context())
		for _, args := range [][]string{
			{"-n", systemNamespace, "delete", "--ignore-not-found", "role/shardinguser-default-users-role", "rolebinding/shardinguser-default-users-rolebinding"},
			{"apply", unvalidated, "-k", filepath.Join(root, "config/default")},
		} {
			if _, err := plane.Kubectl(ctx, args...); err != nil {
				s.t.Error(err)
			}
		}
	})
	s.kubectl("apply", unvalidated, "-k", s.withDefaultUsers("default"))
}

// clearDefaultUsers deletes the default users now and when the test ends.
func (s *story) clearDefaultUsers() {
	s.t.Helper()
	s.t.Cleanup(func() {
		s.clearUsers(systemNamespace)
		for _, name := range defaultNames {
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: name + "-password"}}
			if err := s.kube.Delete(context.WithoutCancel(s.t.Context()), secret); client.IgnoreNotFound(err) != nil {
				s.t.Error(err)
			}
		}
	})
}

// flags returns the flags of the deployed manager that concern default users.
func (s *story) flags() []string {
	s.t.Helper()
	var deployment appsv1.Deployment
	s.Expect(s.kube.Get(s.t.Context(), client.ObjectKey{Namespace: systemNamespace, Name: "shardinguser-controller-manager"}, &deployment)).
		To(gomega.Succeed())
	return slices.DeleteFunc(deployment.Spec.Template.Spec.Containers[0].Args, func(arg string) bool {
		return !strings.HasPrefix(arg, "--default-users") && !strings.HasPrefix(arg, "--watch-namespaces") && !strings.HasPrefix(arg, "--policies")
	})
}

// logInAsDefaultUsers waits until all default users are ready, and logs in with the passwords of their Secrets. It returns these passwords.
func (s *story) logInAsDefaultUsers(p *process, namespace string) map[string]string {
	s.t.Helper()
	passwords := map[string]string{}
	for _, name := range defaultNames {
		u := s.resource(name, in(namespace))
		s.reports(time.Minute, u, v1alpha1.ReasonSynced) // the last leader's lease may have to expire
		var secret corev1.Secret
		s.Expect(s.kube.Get(s.t.Context(), client.ObjectKey{Namespace: namespace, Name: name + "-password"}, &secret)).To(gomega.Succeed())
		passwords[name] = string(secret.Data["password"])
		status, body := p.logIn(name, passwords[name])
		s.Expect(status).To(gomega.Equal(http.StatusOK), body)
		s.Expect(body).To(gomega.MatchJSON(`{"username":"` + name + `","roles":["` + name + `"]}`))
		s.Expect(p.said()).NotTo(gomega.ContainSubstring(passwords[name]))
	}
	return passwords
}

// Not parallel, like the tests that follow: they change rights that all managers share. This one watches the whole cluster.
func TestDefaultUsersAreCreatedAtTheFirstStartOnly(t *testing.T) {
	s := newStory(t)
	s.clearDefaultUsers()
	s.allowDefaultUsers()
	start := func() *process {
		return s.launchOn(s.dsn, "--leader-elect", "--default-users=sharding").begin(t).ready()
	}
	p := start()
	s.Expect(s.logInAsDefaultUsers(p, systemNamespace)).To(gomega.Equal(
		map[string]string{"admin": "admin123", "operator": "operator123", "viewer": "viewer123"}))
	s.Expect(s.kubectl("-n", systemNamespace, "get", "suser", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="WeakPassword")].status}`)).
		To(gomega.Equal("True True True"))

	for _, name := range defaultNames {
		u := s.resource(name, in(systemNamespace))
		s.edit(u, func(u *v1alpha1.ShardingUser) { // no other admin exists
			metav1.SetMetaDataAnnotation(&u.ObjectMeta, v1alpha1.AnnotationAllowLastAdministrator, "true")
		})
		s.delete(u)
		s.gone(soon, u)
	}
	s.kubectl("-n", systemNamespace, "delete", "secret", "admin-password", "operator-password", "viewer-password")
	s.Expect(p.Stop(25 * time.Second)).To(gomega.Succeed())
	p = start()
	s.eventually(time.Minute, func(g gomega.Gomega) {
		g.Expect(p.said()).To(gomega.ContainSubstring("No default users are created: the database was used before"))
	})
	s.Expect(s.kubectl("-n", systemNamespace, "get", "suser,secret", "-o", "name", "--field-selector=metadata.name!=shardinguser-digest-key")).
		To(gomega.BeEmpty())
}

func TestMissingRightToCreateDefaultUsersIsReported(t *testing.T) {
	s := newStory(t)
	s.clearDefaultUsers()
	p := s.launchOn(s.dsn, "--leader-elect", "--default-users=generated").begin(t).ready()
	s.eventually(time.Minute, func(g gomega.Gomega) {
		g.Expect(p.said()).To(gomega.MatchRegexp(`"level":"error".*Cannot create the default users.*config/default-users`))
	})
	s.Expect(s.kubectl("-n", systemNamespace, "get", "suser", "-o", "name")).To(gomega.BeEmpty())

	s.allowDefaultUsers()
	s.Expect(s.flags()).To(gomega.Equal([]string{"--default-users=generated"}))
	s.logInAsDefaultUsers(p, systemNamespace)
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(p.said()).To(gomega.ContainSubstring("kubectl -n " + systemNamespace + " get secret admin-password"))
	})
	s.Expect(s.mayMore(systemNamespace)).To(gomega.ConsistOf(all(whereDefaultUsersAre, readingPolicies, askingForOthers, publishing, leaderElection)))
	s.Expect(s.mayMore(s.namespace)).To(gomega.ConsistOf(all(everywhere, readingPolicies, askingForOthers)))
}

func TestDefaultAccountsOfTheShardingManagerAreTakenOver(t *testing.T) {
	s := newStory(t)
	s.clearDefaultUsers()
	s.allowDefaultUsers()
	s.sql(`CREATE TABLE users (username VARCHAR(255) PRIMARY KEY, password_hash VARCHAR(255), roles JSONB NOT NULL DEFAULT '[]'::jsonb,
		active BOOLEAN NOT NULL DEFAULT true, created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
		updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, last_login_at TIMESTAMP, failed_login_attempts INTEGER NOT NULL DEFAULT 0,
		locked_until TIMESTAMP, oauth_provider VARCHAR(50), oauth_id VARCHAR(255), email VARCHAR(255))`)
	s.sql(`INSERT INTO users (username, password_hash, roles) VALUES
		('admin', '$2a$10$LtlhX7.r1Rf9Fl7XjR9VKeaZvwU7PJK6tlWF5rXdxe1fg55wurAnW', '["admin"]'),
		('operator', '$2a$10$oDZulSnupJh0OdVrJImYNO/HrxjmUx8QA.ICMSA/Pdskkdwd68.bu', '["operator"]'),
		('viewer', '$2a$10$QyJBIVEeUVYYYdRELwpeLe7E5y2vvDIWdIMlIoXOjQCYWj2ozssDG', '["viewer"]')`)
	s.sql(`ALTER TABLE users OWNER TO ` + s.role)

	p := s.launchOn(s.dsn, "--leader-elect", "--default-users=generated", "--default-users-take-over=on").begin(t).ready()
	s.logInAsDefaultUsers(p, systemNamespace)
	for _, name := range defaultNames {
		status, body := p.logIn(name, name+"123")
		s.Expect(status).To(gomega.Equal(http.StatusUnauthorized), body)
	}
	s.Expect(p.said()).To(gomega.ContainSubstring("Accounts have a well-known default password of the sharding manager"))
}

func TestDefaultUsersInAWatchedNamespace(t *testing.T) {
	s := newStory(t)
	s.installNamespaced(s.withDefaultUsers("namespaced"))
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.mayMore(tenant)).To(gomega.ConsistOf(all(whereDefaultUsersAre, askingForOthers)))
		g.Expect(s.mayMore(systemNamespace)).To(gomega.ConsistOf(all(askingForOthers, leaderElection, announcing, publishing)))
	})
	p := s.launchOn(s.dsn, append(s.flags(), "--leader-elect")...).begin(t).ready()
	s.logInAsDefaultUsers(p, tenant)
	// The API server may still apply an admission policy that the previous test deleted. That rejection is no missing right.
	s.Expect(p.said()).NotTo(gomega.ContainSubstring("forbidden: User"))
}
