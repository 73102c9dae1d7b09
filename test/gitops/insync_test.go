// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A way is a combination of the methods with which Argo CD applies and compares.
type way struct{ serverSide, serverSideDiff bool }

const (
	byClient       = "applied by the client and compared three ways"
	byServer       = "applied by the server and compared by managed field"
	bothByServer   = "applied by the server and compared by the server"
	serverCompares = "applied by the client and compared by the server"
)

var ways = map[string]way{
	byClient: {false, false}, serverCompares: {false, true}, byServer: {true, false}, bothByServer: {true, true},
}

// known are the wrong comparisons that docs/argocd.md describes, by name of a manifest. They affect every kind whose controller
// has a finalizer, since Argo CD compares without the CRD.
var known = map[string]string{
	// A list in Git replaces the live list.
	"another finalizer": byClient,
}

// written are manifests as people and tools write them. Each test replaces NAME.
var written = map[string]string{
	"nothing but a name": `
apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata: {name: NAME}`,
	"an empty spec": `
apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata: {name: NAME}
spec: {}`,
	"another username": `
apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata: {name: NAME}
spec: {username: NAME@example.com}`,
	"a password without defaults": `
apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata: {name: NAME}
spec:
  password: {secretRef: {name: NAME}}
---
apiVersion: v1
kind: Secret
metadata: {name: NAME}
stringData: {password: correct horse battery}`,
	"explicit defaults": `
apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata: {name: NAME}
spec:
  roles: []
  active: true
  adoptionPolicy: Never
  deletionPolicy: Delete
  password: {format: Plain, secretRef: {name: NAME, key: password}}
---
apiVersion: v1
kind: Secret
metadata: {name: NAME}
stringData: {password: correct horse battery}`,
	"unsorted roles": `
apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata: {name: NAME}
spec: {roles: [viewer, operator, analyst]}`,
	"deletionPolicy Deactivate": `
apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata:
  name: NAME
  labels: {team: a}
  annotations: {sharding.io/paused: "false", sharding.io/unlock-requested-at: "2026-01-31T12:00:00Z"}
spec: {active: false, adoptionPolicy: IfUnowned, deletionPolicy: Deactivate}`,
	"an explicit finalizer": `
apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata: {name: NAME, finalizers: [sharding.io/row]}`,
	"another finalizer": `
apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata: {name: NAME, finalizers: [example.com/ours]}`,
	"the output of kubectl get, trimmed": `
apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata: {name: NAME, creationTimestamp: null}
spec: {active: true, adoptionPolicy: Never, deletionPolicy: Delete, roles: [viewer]}
status: {failedLoginAttempts: 0, locked: false, observedGeneration: -1}`,
	"the policy with every field": `
apiVersion: sharding.io/v1alpha1
kind: ShardingUserPolicy
metadata: {name: NAME}
spec:
  namespaceSelector:
    matchLabels: {kubernetes.io/metadata.name: nowhere}
    matchExpressions: [{key: sharding.io/suspended, operator: DoesNotExist}]
  usernames: ["x-*", "*@x.example.com"]
  roles: [viewer, "x:*"]
  adoption: Forbidden
  lockout: {mode: Enforced, attempts: 3, duration: 300s, maxDuration: 8h}
  password: {minLength: 14, maxAge: 2160h}
  priority: 10`,
	"the policy without defaults": `
apiVersion: sharding.io/v1alpha1
kind: ShardingUserPolicy
metadata: {name: NAME}
spec: {namespaceSelector: {}, usernames: ["*"], roles: ["*"], adoption: Allowed}`,
}

// The comparison comes after the API server has written defaults and managed fields, and the operator the finalizer and the
// status.
func TestOperatorWritesCauseNoDifference(t *testing.T) {
	for by, way := range ways {
		t.Run(by, func(t *testing.T) {
			application := newApplication(t)
			application.serverSide, application.serverSideDiff = way.serverSide, way.serverSideDiff
			files, want := map[string]string{}, map[string]healthCode{}
			for name, text := range written {
				if known[name] == by {
					continue
				}
				name = application.namespace + "-" + strings.Trim(strings.NewReplacer(" ", "-", ",", "").Replace(strings.ToLower(name)), "-")
				text = strings.ReplaceAll(text, "NAME", name)
				files[name+".yaml"] = text
				want[kindOf(text)+"/"+name] = "Healthy"
			}
			application.commit(t, files)
			application.sync(t)
			application.syncedAnd(t, want)

			// Logins and locks cause no difference, either.
			user := application.namespace + "-nothing-but-a-name"
			lock(t, user)
			statement(t, "UPDATE users SET last_login_at = now() AT TIME ZONE 'UTC' WHERE username = $1", user)
			eventually(t, func() string {
				if u := stored(t, application.namespace, user); reason(u, "Locked") != "TooManyFailedAttempts" {
					return "the lock is not reported"
				}
				return ""
			})
			application.syncedAnd(t, want)
			application.sync(t)
			application.syncedAnd(t, want)

			for _, live := range application.reconcile(t).Live { // the deletion would wait for the other finalizer
				if len(live.GetFinalizers()) > 1 {
					edit(t, live.GetNamespace(), live.GetName(), `{"metadata":{"finalizers":["sharding.io/row"]}}`)
				}
			}
			application.delete(t)
		})
	}
}

// If this test fails because Argo CD has fixed a comparison, remove the case here and in docs/argocd.md.
func TestKnownWrongComparisons(t *testing.T) {
	for name, by := range known {
		t.Run(name, func(t *testing.T) {
			application := newApplication(t)
			application.serverSide, application.serverSideDiff = ways[by].serverSide, ways[by].serverSideDiff
			user := application.namespace + "-known"
			application.commit(t, map[string]string{"user.yaml": strings.ReplaceAll(written[name], "NAME", user)})
			application.sync(t)
			application.becomes(t, healthy(user))
			if application.outOfSync(t) == "" {
				t.Error("the application is in sync")
			}
			application.serverSide, application.serverSideDiff = true, true // the documented workaround
			application.sync(t)
			application.syncedAnd(t, healthy(user))
		})
	}
}

func kindOf(manifest string) string {
	if strings.Contains(manifest, "kind: "+string(policies)+"\n") {
		return string(policies)
	}
	return string(users)
}

func TestSamplesAreInSync(t *testing.T) {
	for by, way := range ways {
		t.Run(by, func(t *testing.T) {
			application := newApplication(t)
			application.serverSide, application.serverSideDiff = way.serverSide, way.serverSideDiff
			names, err := filepath.Glob(filepath.Join(root, "config/samples/shardinguser*.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			files, want := map[string]string{}, map[string]healthCode{}
			for _, name := range names {
				list, err := kube.SplitYAML([]byte(content(t, name)))
				if err != nil {
					t.Fatal(err)
				}
				for _, u := range list {
					if u.GetNamespace() != "" {
						u.SetNamespace(application.namespace)
					}
					// The operator does not delete the last administrator without this annotation.
					roles, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "roles")
					if len(roles) == 1 && roles[0] == "admin" {
						u.SetAnnotations(map[string]string{"sharding.io/allow-removing-last-administrator": "true"})
					}
					if u.GetKind() != "Secret" {
						want[named(u)] = "Healthy"
					}
					files[strings.ToLower(u.GetKind())+"-"+u.GetName()+".yaml"] = manifest(t, u)
				}
			}
			if len(want) < 5 {
				t.Fatalf("found only the samples %v: check the pattern of their names", want)
			}
			// The policy of the samples permits few users.
			files["all-users.yaml"] = `
apiVersion: sharding.io/v1alpha1
kind: ShardingUserPolicy
metadata: {name: ` + application.name + `}
spec: {namespaceSelector: {}, usernames: ["*"], roles: ["*"], adoption: Allowed}
`
			want["ShardingUserPolicy/"+application.name] = "Healthy"
			application.commit(t, files)
			application.sync(t)
			application.syncedAnd(t, want)
			application.delete(t)
		})
	}
}
