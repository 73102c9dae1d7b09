// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// strange is text that the database and the API server accept, and that no terminal may get.
const strange = "\x1b[31m\x1b]0;x\x07\u009b2J\u202egnp\u2066\u200b\x7f\r\nforged\tline"

// hostile writes strange wherever tenants, other programs and clients of the login API may write.
func (s *story) hostile(u *v1alpha1.ShardingUser) {
	s.t.Helper()
	s.sql(`UPDATE login_attempts SET user_agent = $1::text, source = left($1::text, 64)`, strange)
	s.sql(`INSERT INTO login_attempts (attempted_at, username, outcome, source, user_agent) VALUES (now(), 'alice', 'failed', left($1::text, 64), $1::text)`, strange)
	s.sql(`INSERT INTO login_attempts (attempted_at, username, outcome, source, user_agent) VALUES (now(), $1::text, 'failed', '', '')`, strange)
	s.sql(`INSERT INTO users (username, password_hash, roles) VALUES ($1::text, $1::text, jsonb_build_array($1::text)), ('bob', '!', jsonb_build_array($1::text)),
		('carol', '!', '[]'), ('leaver', '!', '[]')`, strange)
	s.sql(`INSERT INTO shardinguser_ownership (username, cluster, namespace, name, uid, state, generation, deletion_policy,
		password_version, password_hash, password_weak, unlock_handled)
		SELECT other, cluster, $1::text, $1::text, 'gone', 'owned', 1, 'Delete', '', '', false, ''
		FROM shardinguser_ownership, unnest(ARRAY['carol', 'leaver']) AS others (other) WHERE username = 'alice'`, strange)

	u.Annotations = map[string]string{"strange": strange}
	s.Expect(s.kube.Update(s.t.Context(), u)).To(gomega.Succeed())
	u.Status.PermittedBy = strange
	for i := range u.Status.Conditions {
		u.Status.Conditions[i].Status, u.Status.Conditions[i].Message = metav1.ConditionFalse, strange
	}
	s.Expect(s.kube.Status().Update(s.t.Context(), u)).To(gomega.Succeed())
	s.Expect(s.kube.Create(s.t.Context(), &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: "strange-", Namespace: s.namespace},
		InvolvedObject: corev1.ObjectReference{Kind: "ShardingUser", Name: u.Name, Namespace: s.namespace, UID: u.UID, APIVersion: "sharding.io/v1alpha1"},
		Type:           corev1.EventTypeWarning, Reason: strange, Message: strange,
		FirstTimestamp: metav1.NewTime(time.Now()), LastTimestamp: metav1.NewTime(time.Now()),
	})).To(gomega.Succeed())
}

// Owner names, roles, user agents, conditions and Events of others are escaped before they reach a terminal.
func TestPluginEscapesTerminalCodes(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.publishes()
	p := s.start("--leader-election-namespace=" + s.namespace)
	s.secret("alice", canary+" alice")
	alice := s.readyUser("alice", secret("alice"))
	p.Kill() // the manager would correct some of these writes
	s.Expect(s.kube.Get(s.t.Context(), client.ObjectKeyFromObject(alice), alice)).To(gomega.Succeed())
	s.hostile(alice)

	sh := s.newShell()
	sh.env = append(sh.env, "USER_DATABASE_DSN="+s.dsn)
	shown := 0 // count of the commands that print some of it
	for _, command := range []string{
		"list", "list -o wide", "list -A -o wide", "list -o name", "list -o json", "list -o yaml", "doctor", "doctor alice", "doctor -o json", "doctor alice -o yaml",
		"logins alice", "logins alice -o json", "logins alice -o yaml", "import", "import -o json", "import --dry-run --directory=accounts",
		"import --dry-run --directory=accounts -o json", "import --apply --dry-run", "lock alice --wait=false", "lock alice --undo --wait=false -o yaml",
		"unlock alice --wait=false -o json", "set-password alice --generate -o json",
	} {
		got := sh.run("", "kubectl", append([]string{"shardinguser"}, strings.Fields(command)...)...)
		for stream, text := range map[string]string{"output": got.out, "other output": got.errOut} {
			if at := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }); at >= 0 {
				t.Errorf("the %s of %q has %q", stream, command, text[at:min(at+20, len(text))])
			}
			if strings.Contains(text, "\nforged") {
				t.Errorf("the %s of %q has an injected line:\n%s", stream, command, text)
			}
		}
		if strings.Contains(got.out+got.errOut, `\u202e`) {
			shown++
		}
		var value any
		switch {
		case strings.Contains(command, "-o json") && json.Unmarshal([]byte(got.out), &value) != nil,
			strings.Contains(command, "-o yaml") && yaml.Unmarshal([]byte(got.out), &value) != nil:
			t.Errorf("%q does not match its format:\n%s%s", command, got.out, got.errOut)
		}
	}
	if shown < 10 {
		t.Errorf("only %d commands print the strange text", shown)
	}
}
