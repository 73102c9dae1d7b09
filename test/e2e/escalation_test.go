// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

const (
	merge       = "application/merge-patch+json"
	secretFence = "shardinguser-secrets.sharding.io"
	digestKey   = "shardinguser-digest-key"
)

func named(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

// escalations are ways to become a cluster administrator, each of which begins with one request.
func escalations(namespace string) map[string]func(context.Context, client.Client) error {
	admin := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"}
	self := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: systemNamespace, Name: account}}
	everything := `{"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}`
	pod := corev1.PodSpec{ServiceAccountName: "default", Containers: []corev1.Container{{Name: "c", Image: "i"}}}
	create := func(o client.Object) func(context.Context, client.Client) error {
		return func(ctx context.Context, c client.Client) error {
			return c.Create(ctx, o.DeepCopyObject().(client.Object), client.DryRunAll)
		}
	}
	patch := func(o client.Object, body string) func(context.Context, client.Client) error {
		return func(ctx context.Context, c client.Client) error {
			return c.Patch(ctx, o.DeepCopyObject().(client.Object), client.RawPatch(merge, []byte(body)), client.DryRunAll)
		}
	}
	tokenOf := func(namespace string) *corev1.Secret {
		s := &corev1.Secret{ObjectMeta: named(namespace, "escalation"), Type: corev1.SecretTypeServiceAccountToken}
		s.Annotations = map[string]string{corev1.ServiceAccountNameKey: "default"}
		return s
	}
	bound := &rbacv1.ClusterRoleBinding{ObjectMeta: named("", "escalation"), RoleRef: admin, Subjects: self}
	fence := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: named("", secretFence)}
	return map[string]func(context.Context, client.Client) error{
		"a token Secret in kube-system":         create(tokenOf("kube-system")),
		"a token Secret in its own namespace":   create(tokenOf(systemNamespace)),
		"a token Secret in a watched namespace": create(tokenOf(namespace)),
		"a token of a ServiceAccount": func(ctx context.Context, c client.Client) error {
			return c.SubResource("token").Create(ctx, &corev1.ServiceAccount{ObjectMeta: named("kube-system", "default")}, &authenticationv1.TokenRequest{})
		},
		"a token of its own": func(ctx context.Context, c client.Client) error {
			return c.SubResource("token").Create(ctx, &corev1.ServiceAccount{ObjectMeta: named(systemNamespace, account)}, &authenticationv1.TokenRequest{})
		},
		"a binding to cluster-admin":         create(bound),
		"a binding in kube-system":           create(&rbacv1.RoleBinding{ObjectMeta: named("kube-system", "escalation"), RoleRef: admin, Subjects: self}),
		"more rights in its own ClusterRole": patch(&rbacv1.ClusterRole{ObjectMeta: named("", "shardinguser-metrics-auth-role")}, everything),
		"more rights in its own Role":        patch(&rbacv1.Role{ObjectMeta: named(systemNamespace, "shardinguser-manager-role")}, everything),
		"a pod":                              create(&corev1.Pod{ObjectMeta: named("kube-system", "escalation"), Spec: pod}),
		"another command for its own pods":   patch(&appsv1.Deployment{ObjectMeta: named(systemNamespace, account)}, `{"spec":{"replicas":2}}`),
		"no fence":                           patch(fence, `{"spec":{"matchConditions":null}}`),
		"delete the Secret admission policy's binding": func(ctx context.Context, c client.Client) error {
			return c.Delete(ctx, &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: named("", secretFence)}, client.DryRunAll)
		},
		"change the CRD": patch(&metav1.PartialObjectMetadata{
			TypeMeta:   metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"},
			ObjectMeta: named("", "shardingusers.sharding.io"),
		}, `{"metadata":{"labels":{"a":"b"}}}`),
		"a policy of its own": create(&v1alpha1.ShardingUserPolicy{ObjectMeta: named("", "escalation"), Spec: v1alpha1.ShardingUserPolicySpec{
			NamespaceSelector: &v1alpha1.NamespaceSelector{}, Usernames: []v1alpha1.Glob{"*"},
		}}),
		"a user":              create(&v1alpha1.ShardingUser{ObjectMeta: named(namespace, "escalation")}),
		"a label of a tenant": patch(&corev1.Namespace{ObjectMeta: named("", namespace)}, `{"metadata":{"labels":{"a":"b"}}}`),
		"another's Secret":    patch(&corev1.Secret{ObjectMeta: named(namespace, "another")}, `{"stringData":{"password":"x"}}`),
		"another's Secret, which gets an owner": patch(&corev1.Secret{ObjectMeta: named(namespace, "another")},
			`{"metadata":{"labels":{"app.kubernetes.io/managed-by":"shardinguser-operator","app.kubernetes.io/component":"generated-password"},`+
				`"ownerReferences":[{"apiVersion":"sharding.io/v1alpha1","kind":"ShardingUser","name":"u","uid":"1","controller":true}]}}`),
		"another Secret of its namespace": create(&corev1.Secret{ObjectMeta: named(systemNamespace, "escalation")}),
		"delete the digest key": func(ctx context.Context, c client.Client) error {
			return c.Delete(ctx, &corev1.Secret{ObjectMeta: named(systemNamespace, digestKey)}, client.DryRunAll)
		},
		"delete another's Secret": func(ctx context.Context, c client.Client) error {
			return c.Delete(ctx, &corev1.Secret{ObjectMeta: named(namespace, "another")}, client.DryRunAll)
		},
		"delete all Secrets": func(ctx context.Context, c client.Client) error {
			return c.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(namespace), client.DryRunAll)
		},
	}
}

// cannotEscalate tries each escalation as the manager, and as the manager that impersonates others.
func (s *story) cannotEscalate(namespace string) {
	s.t.Helper()
	manager, err := client.New(rights, client.Options{Scheme: scheme})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	for what, try := range escalations(namespace) {
		err := try(s.t.Context(), manager)
		s.Expect(apierrors.IsForbidden(err)).To(gomega.BeTrue(), "%s: %v", what, err)
	}
	for _, other := range []rest.ImpersonationConfig{
		{UserName: "admin", Groups: []string{"system:masters"}}, {UserName: "system:serviceaccount:kube-system:namespace-controller"},
	} {
		config := rest.CopyConfig(rights)
		config.Impersonate = other
		impersonated, err := client.New(config, client.Options{Scheme: scheme})
		if err == nil {
			err = impersonated.List(s.t.Context(), &corev1.NamespaceList{})
		}
		s.Expect(apierrors.IsForbidden(err)).To(gomega.BeTrue(), "impersonate %s: %v", other.UserName, err)
	}
}

// generatedSecret returns a Secret as the operator generates it for a user.
func generatedSecret(u *v1alpha1.ShardingUser, edits ...func(*corev1.Secret)) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: named(u.Namespace, u.Name+"-login"), Type: corev1.SecretTypeBasicAuth}
	s.Labels = map[string]string{"app.kubernetes.io/component": "generated-password", "app.kubernetes.io/managed-by": "shardinguser-operator"}
	s.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "ShardingUser", Name: u.Name, UID: u.UID, Controller: new(true),
	}}
	s.StringData = map[string]string{"username": u.Name, "password": canary + " " + u.Name}
	for _, change := range edits {
		change(s)
	}
	return s
}

// strangeSecrets are Secrets that differ in one field from those that the operator may create.
func strangeSecrets() map[string]func(*corev1.Secret) {
	return map[string]func(*corev1.Secret){
		"a token": func(s *corev1.Secret) {
			s.Type, s.Annotations = corev1.SecretTypeServiceAccountToken, map[string]string{corev1.ServiceAccountNameKey: "default"}
		},
		"a bootstrap token": func(s *corev1.Secret) { s.Type = corev1.SecretTypeBootstrapToken },
		"a registry's password": func(s *corev1.Secret) {
			s.Type, s.StringData = corev1.SecretTypeDockerConfigJson, map[string]string{corev1.DockerConfigJsonKey: "{}"}
		},
		"no labels":                func(s *corev1.Secret) { s.Labels = nil },
		"another manager":          func(s *corev1.Secret) { s.Labels["app.kubernetes.io/managed-by"] = "Helm" },
		"another component":        func(s *corev1.Secret) { s.Labels["app.kubernetes.io/component"] = "default-users" },
		"no owner":                 func(s *corev1.Secret) { s.OwnerReferences = nil },
		"an owner of another kind": func(s *corev1.Secret) { s.OwnerReferences[0].Kind = "Pod" },
		"an owner of another group": func(s *corev1.Secret) {
			s.OwnerReferences[0].APIVersion = "example.com/v1alpha1"
		},
		"an owner that is no controller": func(s *corev1.Secret) { s.OwnerReferences[0].Controller = nil },
		"a default user's in another namespace": func(s *corev1.Secret) {
			s.Name, s.Type, s.OwnerReferences = "admin-password", corev1.SecretTypeOpaque, nil
			s.Labels["app.kubernetes.io/component"] = "default-users"
		},
	}
}

// isFenced expects that the manager may write only the Secrets that it generates.
func (s *story) isFenced(namespace string) {
	s.t.Helper()
	ctx := s.t.Context()
	manager, err := client.New(rights, client.Options{Scheme: scheme})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	u := s.user("fenced", in(namespace))
	for what, change := range strangeSecrets() {
		err := manager.Create(ctx, generatedSecret(u, change), client.DryRunAll)
		s.Expect(apierrors.IsForbidden(err)).To(gomega.BeTrue(), "%s: %v", what, err)
		s.Expect(err.Error()).To(gomega.ContainSubstring("config/secret-fence"), what)
	}
	opaque := generatedSecret(u, func(s *corev1.Secret) { s.Type = "" })
	s.Expect(manager.Create(ctx, opaque, client.DryRunAll)).To(gomega.Succeed())
	own := generatedSecret(u)
	s.Expect(manager.Create(ctx, own)).To(gomega.Succeed())
	s.Expect(manager.Patch(ctx, own, client.RawPatch(merge, []byte(`{"stringData":{"password":"`+canary+`"}}`)))).To(gomega.Succeed())
	for _, body := range []string{
		`{"metadata":{"labels":null}}`, `{"metadata":{"ownerReferences":null}}`,
		`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"p","uid":"1","controller":true}]}}`,
	} {
		err := manager.Patch(ctx, own.DeepCopy(), client.RawPatch(merge, []byte(body)))
		s.Expect(apierrors.IsForbidden(err)).To(gomega.BeTrue(), "%s: %v", body, err)
	}
	// Only the Secret in its own namespace is the digest key.
	label := client.RawPatch(merge, []byte(`{"metadata":{"labels":{"a":"b"}}}`))
	s.Expect(manager.Patch(ctx, &corev1.Secret{ObjectMeta: named(systemNamespace, digestKey)}, label, client.DryRunAll)).To(gomega.Succeed())
	elsewhere := &corev1.Secret{ObjectMeta: named(namespace, digestKey)}
	s.Expect(s.kube.Create(ctx, elsewhere)).To(gomega.Succeed())
	err = manager.Patch(ctx, elsewhere.DeepCopy(), label)
	s.Expect(apierrors.IsForbidden(err)).To(gomega.BeTrue(), "%v", err)
	s.clearUsers(namespace)
}

// installGeneration installs config/generated-passwords until the test ends.
func (s *story) installGeneration() {
	s.t.Helper()
	s.t.Cleanup(func() {
		_, err := plane.Kubectl(context.WithoutCancel(s.t.Context()), "delete", "--ignore-not-found",
			"clusterrole/shardinguser-generated-passwords-role", "clusterrolebinding/shardinguser-generated-passwords-rolebinding")
		if err != nil {
			s.t.Error(err)
		}
	})
	s.kubectl("apply", unvalidated, "-k", s.turnedOn("default", "../generated-passwords"))
}

func TestManagerAccountCannotBecomeClusterAdmin(t *testing.T) {
	s := newStory(t)
	s.secret("another", "a password")
	s.cannotEscalate(s.namespace)

	s.installGeneration()
	cluster := alsoGenerating(everywhere, readingPolicies, askingForOthers)
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.mayMore(s.namespace)).To(gomega.ConsistOf(cluster))
		g.Expect(s.mayMore("kube-system")).To(gomega.ConsistOf(cluster))
		g.Expect(s.mayMore(systemNamespace)).To(gomega.ConsistOf(all(cluster, publishing, leaderElection)))
	})
	s.cannotEscalate(s.namespace)
	s.isFenced(s.namespace)
}

func TestNoRoleBypassesTheSecretAdmissionPolicy(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	another := s.secret("another", "a password")
	s.kubectl("-n", s.namespace, "create", "role", "all", "--verb=*", "--resource=secrets")
	s.kubectl("-n", s.namespace, "create", "rolebinding", "all", "--role=all", "--serviceaccount="+systemNamespace+":"+account)
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.mayMore(s.namespace)).To(gomega.ContainElement("secrets [] [] [* get list watch]"))
	})
	s.cannotEscalate(s.namespace)
	s.isFenced(s.namespace)

	manager, err := client.New(rights, client.Options{Scheme: scheme})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	changed := another.DeepCopy()
	changed.StringData = map[string]string{"password": "x"}
	s.Expect(apierrors.IsForbidden(manager.Update(t.Context(), changed))).To(gomega.BeTrue())
	own := generatedSecret(s.user("owner"))
	s.Expect(manager.Create(t.Context(), own)).To(gomega.Succeed())
	s.Expect(manager.Delete(t.Context(), own)).To(gomega.Succeed())
	s.Expect(s.kube.Get(t.Context(), key(another), another)).To(gomega.Succeed())
	s.Expect(string(another.Data["password"])).To(gomega.Equal("a password"))
}

func TestNamespacedManagerCannotBecomeClusterAdmin(t *testing.T) {
	s := newStory(t)
	s.installNamespaced(s.turnedOn("namespaced", "../generated-passwords/namespaced"))
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.mayMore(tenant)).To(gomega.ConsistOf(alsoGenerating(everywhere, askingForOthers)))
		g.Expect(s.mayMore("kube-system")).To(gomega.ConsistOf(all(clusterIdentity, askingForOthers)))
		g.Expect(s.mayMore(s.namespace)).To(gomega.ConsistOf(askingForOthers))
	})
	another := &corev1.Secret{ObjectMeta: named(tenant, "another")}
	s.Expect(s.kube.Create(t.Context(), another)).To(gomega.Succeed())
	s.cannotEscalate(tenant)
	s.isFenced(tenant)
}

func TestGeneratedPasswordKeepsWorkingWithoutPatchRight(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.allowGeneration(s.namespace)
	p := s.start()
	u := s.readyUser("alice", secret("alice-login"), generated, maxAge(time.Hour))
	login := &corev1.Secret{ObjectMeta: named(s.namespace, "alice-login")}
	s.Expect(s.kube.Get(t.Context(), key(login), login)).To(gomega.Succeed())
	s.kubectl("-n", s.namespace, "delete", "rolebinding", "shardinguser-generated-passwords")
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.mayMore(s.namespace)).NotTo(gomega.ContainElements(generating)) })

	s.sql(`UPDATE shardinguser_ownership SET password_changed_at = now() - interval '2 hours'`)
	s.edit(u, roles("viewer"))
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.kube.Get(t.Context(), key(u), u)).To(gomega.Succeed())
		g.Expect(u.Status.Conditions).To(gomega.ContainElement(gomega.And(
			gomega.HaveField("Type", v1alpha1.ConditionPasswordExpired), gomega.HaveField("Status", metav1.ConditionTrue),
			gomega.HaveField("Message", gomega.ContainSubstring("turn on config/generated-passwords")))))
	})
	s.reports(soon, u, v1alpha1.ReasonSynced)
	status, body := p.logIn("alice", string(login.Data["password"]))
	s.Expect(status).To(gomega.Equal(200), body)
	s.Expect(strings.Count(p.said(), "level\":\"error")).To(gomega.BeZero())
}
