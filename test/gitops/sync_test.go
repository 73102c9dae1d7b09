// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	syncing "github.com/argoproj/gitops-engine/pkg/sync/common"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// user returns the manifest of a user, with further lines in the spec.
func user(name string, spec ...string) string {
	return "apiVersion: sharding.io/v1alpha1\nkind: ShardingUser\nmetadata: {name: " + name + "}\nspec:\n  roles: [viewer]\n" +
		strings.Join(spec, "")
}

// withSecret returns the line of the spec for a password in the Secret of that name.
func withSecret(name string) string { return "  password: {secretRef: {name: " + name + "}}\n" }

func secret(name string) string {
	return "apiVersion: v1\nkind: Secret\nmetadata: {name: " + name + "}\nstringData: {password: correct horse battery}\n"
}

// inWave returns the manifest with a sync wave.
func inWave(wave int, manifest string) string {
	return strings.Replace(manifest, "metadata: {", fmt.Sprintf("metadata: {annotations: {argocd.argoproj.io/sync-wave: %q}, ", fmt.Sprint(wave)), 1)
}

// createSecret creates a Secret that is not part of the application.
func createSecret(t *testing.T, namespace, name string, keys ...string) {
	t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{}}
	for _, key := range keys {
		s.StringData[key] = "correct horse battery"
	}
	if _, err := client.CoreV1().Secrets(namespace).Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func row(t *testing.T, username, condition string) {
	t.Helper()
	eventually(t, func() string {
		if hasRow(t, username, condition) {
			return ""
		}
		return "there is no row of " + username + " with " + condition
	})
}

func TestApplicationFromCreationToDeletion(t *testing.T) {
	application := newApplication(t)
	application.commit(t, map[string]string{"first.yaml": user("first", withSecret("first")), "secret.yaml": secret("first"), "second.yaml": user("second")})
	if got := application.health(t); got["ShardingUser/first"].Status != "Missing" {
		t.Errorf("before the first sync the health is %v, want Missing", got)
	}
	application.sync(t)
	application.syncedAnd(t, healthy("first", "second"))
	row(t, "first", `roles = '["viewer"]'`)

	application.commit(t, map[string]string{"first.yaml": user("first", withSecret("first"), "  active: false\n"), "secret.yaml": secret("first"), "second.yaml": user("second")})
	if got := application.outOfSync(t); !strings.HasPrefix(got, "ShardingUser/first is out of sync") || strings.Contains(got, "second") {
		t.Errorf("after a commit Argo CD reports %q, want first out of sync", got)
	}
	application.sync(t)
	application.syncedAnd(t, healthy("first", "second"))
	row(t, "first", "NOT active")

	// Self-heal: a sync reverts a manual edit.
	edit(t, application.namespace, "second", `{"spec":{"roles":["admin","viewer"]}}`)
	row(t, "second", `roles @> '["admin"]'`)
	eventually(t, func() string {
		if application.outOfSync(t) == "" {
			return "Argo CD finds no difference after the edit"
		}
		return ""
	})
	edit(t, application.namespace, "second", `{"metadata":{"annotations":{"sharding.io/allow-removing-last-administrator":"true"}}}`)
	application.sync(t)
	row(t, "second", `roles = '["viewer"]'`)
	application.syncedAnd(t, healthy("first", "second"))

	// The operator corrects changes of the row. Argo CD does not see them.
	statement(t, `UPDATE users SET roles = '["owner"]', active = false WHERE username = 'second'`)
	row(t, "second", `roles = '["viewer"]' AND active`)
	if got := application.outOfSync(t); got != "" {
		t.Errorf("after drift in the table Argo CD reports %q, want Synced", got)
	}
	application.becomes(t, healthy("first", "second"))

	// Prune: the row of a user that is deleted in Git is deleted.
	application.commit(t, map[string]string{"second.yaml": user("second")})
	application.sync(t)
	application.syncedAnd(t, healthy("second"))
	if hasRow(t, "first", "true") || stored(t, application.namespace, "first") != nil {
		t.Error("the row of a pruned user still exists")
	}

	application.delete(t)
	if hasRow(t, "second", "true") || stored(t, application.namespace, "second") != nil {
		t.Error("the user still exists after the deletion of the application")
	}
}

func TestUserMayBeCreatedBeforeItsSecret(t *testing.T) {
	users, secrets := newApplication(t), newApplication(t)
	secrets.namespace = users.namespace // another application, which is synced independently
	users.commit(t, map[string]string{"early.yaml": user("early", withSecret("late"))})
	secrets.commit(t, map[string]string{"late.yaml": secret("late")})
	users.sync(t)
	users.syncedAnd(t, map[string]healthCode{"ShardingUser/early": "Progressing"})
	eventually(t, func() string { // the health is also Progressing before the operator has seen the user
		if got := users.health(t)["ShardingUser/early"].Message; !strings.Contains(got, `Secret "late" does not exist`) {
			return fmt.Sprintf("the message is %q, want one that names the missing Secret", got)
		}
		return ""
	})
	secrets.sync(t)
	users.syncedAnd(t, healthy("early"))
	users.delete(t)
	secrets.delete(t)
}

// A wave waits until the previous one is healthy. docs/argocd.md recommends the order.
func TestSyncWaitsForUsersWithSecretsInALaterWave(t *testing.T) {
	application := newApplication(t)
	application.commit(t, map[string]string{"user.yaml": inWave(0, user("waiting", withSecret("later"))), "secret.yaml": inWave(1, secret("later"))})
	o := begin()
	const want = "waiting for healthy state of sharding.io/ShardingUser/waiting"
	eventually(t, func() string {
		if application.step(t, o); o.message == want {
			return ""
		}
		return fmt.Sprintf("the sync is %s: %q, want %q", o.phase, o.message, want)
	})
	application.becomes(t, map[string]healthCode{"ShardingUser/waiting": "Progressing", "Secret/later": "Missing"})
	createSecret(t, application.namespace, "later", "password")
	if application.finish(t, o); o.phase != syncing.OperationSucceeded {
		t.Errorf("the sync ended as %s: %s", o.phase, o.message)
	}

	application.commit(t, map[string]string{"user.yaml": inWave(1, user("waved", withSecret("sooner"))), "secret.yaml": inWave(0, secret("sooner"))})
	application.sync(t)
	application.syncedAnd(t, healthy("waved"))
	application.delete(t)
}

func TestPausedUserBlocksTheNextWave(t *testing.T) {
	application := newApplication(t)
	files := map[string]string{"paused.yaml": inWave(0, user("paused"))}
	application.commit(t, files)
	application.sync(t)
	application.becomes(t, healthy("paused"))
	act(t, application.namespace, "paused", "pause")
	application.becomes(t, map[string]healthCode{"ShardingUser/paused": suspended})

	files["next.yaml"] = inWave(1, user("next"))
	application.commit(t, files)
	o := begin()
	const want = "waiting for healthy state of sharding.io/ShardingUser/paused"
	eventually(t, func() string {
		if application.step(t, o); o.message == want {
			return ""
		}
		return fmt.Sprintf("the sync is %s: %q, want %q", o.phase, o.message, want)
	})
	application.becomes(t, map[string]healthCode{"ShardingUser/paused": suspended, "ShardingUser/next": "Missing"})
	act(t, application.namespace, "paused", "resume")
	if application.finish(t, o); o.phase != syncing.OperationSucceeded {
		t.Errorf("the sync ended as %s: %s", o.phase, o.message)
	}
	application.syncedAnd(t, healthy("paused", "next"))
	application.delete(t)
}

func TestStalledUserFailsTheSyncAndIsDegraded(t *testing.T) {
	owner, application := newApplication(t), newApplication(t)
	owner.commit(t, map[string]string{"user.yaml": user("taken")})
	owner.sync(t)
	owner.becomes(t, healthy("taken"))

	application.commit(t, map[string]string{"user.yaml": inWave(0, user("taken")), "other.yaml": inWave(1, user("other"))})
	o := application.finish(t, begin())
	message := fmt.Sprintf(`Username "taken" belongs to ShardingUser %s/taken`, owner.namespace)
	if o.phase != syncing.OperationFailed || !strings.Contains(fmt.Sprint(o.results), message) {
		t.Errorf("the sync ended as %s: %s: %+v, want a failure with %q", o.phase, o.message, o.results, message)
	}
	if got := application.health(t)["ShardingUser/taken"]; got.Status != "Degraded" || !strings.Contains(got.Message, message) {
		t.Errorf("the health is %+v, want Degraded with %q", got, message)
	}

	owner.delete(t) // this releases the username
	application.becomes(t, map[string]healthCode{"ShardingUser/taken": "Healthy", "ShardingUser/other": "Missing"})
	application.sync(t)
	application.syncedAnd(t, healthy("taken", "other"))
	application.delete(t)
}

func TestLockedUserIsHealthyWithTheEndOfTheLock(t *testing.T) {
	application := newApplication(t)
	application.commit(t, map[string]string{"user.yaml": user("locked")})
	application.sync(t)
	application.becomes(t, healthy("locked"))
	lock(t, "locked")
	eventually(t, func() string {
		until, _, err := unstructured.NestedString(stored(t, application.namespace, "locked").Object, "status", "lockedUntil")
		got := application.health(t)["ShardingUser/locked"]
		if err == nil && until != "" && got.Status == "Healthy" && strings.Contains(got.Message, "Logins are refused until "+until) {
			return ""
		}
		return fmt.Sprintf("the health is %+v, and the user is locked until %q", got, until)
	})
	application.syncedAnd(t, healthy("locked"))
	application.delete(t)
}

func TestUnavailableDatabaseIsProgressing(t *testing.T) {
	application := newApplication(t)
	application.commit(t, map[string]string{"old.yaml": user("old")})
	application.sync(t)
	application.becomes(t, healthy("old"))

	pair.do(t, "halt")
	application.commit(t, map[string]string{"old.yaml": user("old", "  active: false\n"), "new.yaml": user("new")})
	application.sync(t)
	application.syncedAnd(t, map[string]healthCode{"ShardingUser/old": "Progressing", "ShardingUser/new": "Progressing"})
	eventually(t, func() string {
		for name, health := range maps.All(application.health(t)) {
			if !strings.HasPrefix(health.Message, "The database is unavailable: ") {
				return fmt.Sprintf("the message of %s is %q", name, health.Message)
			}
		}
		return ""
	})
	pair.do(t, "start")
	application.syncedAnd(t, healthy("old", "new"))
	row(t, "old", "NOT active")
	application.delete(t)
}

func TestDeletedApplicationWaitsForItsLastAdministrator(t *testing.T) {
	application := newApplication(t)
	application.commit(t, map[string]string{"user.yaml": strings.Replace(user("root"), "viewer", "admin", 1), "other.yaml": user("guest")})
	application.sync(t)
	application.becomes(t, healthy("root", "guest"))
	eventually(t, func() string {
		left := application.deleteWave(t)
		if u := stored(t, application.namespace, "root"); u != nil && left == "ShardingUser/root" && reason(u, "Ready") == "LastAdministrator" {
			return ""
		}
		return "the deletion waits for " + left
	})
	if got := application.health(t)["ShardingUser/root"]; got.Status != "Progressing" || got.Message != "Pending deletion" {
		t.Errorf("the health is %+v, want Progressing: Pending deletion", got)
	}
	edit(t, application.namespace, "root", `{"metadata":{"annotations":{"sharding.io/allow-removing-last-administrator":"true"}}}`)
	application.delete(t)
	if hasRow(t, "root", "true") {
		t.Error("the row still exists")
	}
}
