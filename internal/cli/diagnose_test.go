// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// healthy returns the facts of a healthy user.
func healthy(edits ...edit) facts {
	return facts{
		now: now, user: aUser(append([]edit{withSecret(v1alpha1.PasswordFormatPlain)}, edits...)...),
		secret:   seen[corev1.Secret]{it: &corev1.Secret{Data: map[string][]byte{"password": []byte("correct-horse")}}},
		policies: seen[[]v1alpha1.ShardingUserPolicy]{it: &[]v1alpha1.ShardingUserPolicy{}},
		lease:    seen[coordinationv1.Lease]{it: lease("pod-1", now.Add(-2*time.Second))}, leaseIn: "system",
	}
}

func withSecret(format v1alpha1.PasswordFormat) edit {
	return func(u *v1alpha1.ShardingUser) {
		u.Spec.Password = &v1alpha1.PasswordSource{SecretRef: v1alpha1.SecretKeyReference{Name: "s", Key: "password"}, Format: format}
	}
}

func generates(u *v1alpha1.ShardingUser) { u.Spec.Password.Generate = &v1alpha1.PasswordGeneration{} }

func expired(u *v1alpha1.ShardingUser) {
	u.Status.Conditions = append(u.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionPasswordExpired, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonMaxAgeExceeded, Message: "Old.",
	})
}

// madeFor marks a Secret as created by the operator.
func madeFor(u *v1alpha1.ShardingUser) []metav1.OwnerReference {
	return []metav1.OwnerReference{*metav1.NewControllerRef(u, v1alpha1.GroupVersion.WithKind("ShardingUser"))}
}

func lease(holder string, renewed time.Time) *coordinationv1.Lease {
	return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
		HolderIdentity: &holder, RenewTime: new(metav1.NewMicroTime(renewed)), LeaseDurationSeconds: new(int32(15)),
	}}
}

func viewersOnly() []v1alpha1.ShardingUserPolicy {
	return []v1alpha1.ShardingUserPolicy{{
		ObjectMeta: metav1.ObjectMeta{Name: "viewers"},
		Spec: v1alpha1.ShardingUserPolicySpec{
			NamespaceSelector: &v1alpha1.NamespaceSelector{}, Usernames: []v1alpha1.Glob{"*"}, Roles: []v1alpha1.Glob{"viewer"},
		},
	}}
}

type diagnosisCase struct {
	facts   facts
	change  func(*facts)
	level   level
	check   string
	says    string
	advises string
}

// runDiagnosis checks that the doctor reports a problem once, with what to do, and nothing else as wrong.
func runDiagnosis(t *testing.T, cases map[string]diagnosisCase) {
	t.Helper()
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			tt.change(&tt.facts)
			results := diagnose(tt.facts)
			said := 0
			for _, r := range results {
				if strings.Contains(r.Message+r.Advice, "c4n4ry") || tt.level == note && tt.check == "Account" && r.Check == "Password" && r.Level == note && !makes(tt.facts.user) {
					t.Errorf("%s says too much: %s", r.Check, r.Message)
				}
				if r.Check == tt.check && r.Level == tt.level && strings.Contains(r.Message, tt.says) && strings.Contains(r.Advice, tt.advises) {
					said++
				}
				if tt.level != wrong && r.Level == wrong && r.Check != "Paused" && tt.check != "Event" && tt.check != "Username" {
					t.Errorf("%s is wrong, too: %s", r.Check, r.Message)
				}
			}
			if said != 1 {
				t.Errorf("%d results of %s are %s and say %q, advising %q:\n%v", said, tt.check, tt.level, tt.says, tt.advises, results)
			}
		})
	}
}

var errForbidden = errors.New("forbidden")

func TestDiagnosisOfTheSecret(t *testing.T) {
	runDiagnosis(t, map[string]diagnosisCase{
		"a Secret that is not there": {
			healthy(ready(metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound)), func(f *facts) { f.secret.it = nil },
			wrong, "Password", `"s" does not exist`, "set-password alice -n team-a",
		},
		"a key that is not there": {
			healthy(), func(f *facts) { f.secret.it.Data = nil }, wrong, "Password", `no key "password"; it is empty`, "secretRef.key",
		},
		"a key of another name": {
			healthy(), func(f *facts) { f.secret.it.Data = map[string][]byte{"pass": []byte("c4n4ry")} },
			wrong, "Password", `set spec.password.secretRef.key to "pass"`, "secretRef.key",
		},
		"an invalid password": {
			healthy(), func(f *facts) { f.secret.it.Data["password"] = []byte("\ufeffc4n4ry-long") },
			wrong, "Password", "byte order mark", "set-password",
		},
		"a hash without its format": {
			healthy(), func(f *facts) { f.secret.it.Data["password"] = []byte("$2y$10$c4n4ryc4n4ryc4n4ry") },
			wrong, "Password", "set spec.password.format to Bcrypt", "set-password",
		},
		"a suspicious password": {
			healthy(), func(f *facts) { f.secret.it.Data["password"] = []byte(`"c4n4ry-long"`) },
			note, "Password", "quotation marks", "set-password alice -n team-a",
		},
		"a suspicious password that the status reports": {
			healthy(suspicious), func(f *facts) { f.secret.it.Data["password"] = []byte(`"c4n4ry-long"`) },
			note, "Account", "PasswordSuspicious: Quoted.", "set-password alice -n team-a",
		},
		"a Secret of another user": {
			healthy(), func(f *facts) {
				f.secret.it.Type, f.secret.it.Data["username"] = corev1.SecretTypeBasicAuth, []byte("c4n4ry-bob")
			}, note, "Password", `kubernetes.io/basic-auth Secret whose key "username"`, "set-password",
		},
		"an empty password": {
			healthy(), func(f *facts) { f.secret.it.Data["password"] = nil }, wrong, "Password", "empty", "set-password",
		},
		"a password instead of a hash": {
			healthy(withSecret(v1alpha1.PasswordFormatBcrypt)), func(*facts) {}, wrong, "Password", "not a bcrypt hash", "set-password",
		},
	})
}

func TestDiagnosisOfAGeneratedSecret(t *testing.T) {
	runDiagnosis(t, map[string]diagnosisCase{
		"a Secret that cannot be read": {
			healthy(), func(f *facts) { f.secret = seen[corev1.Secret]{err: errForbidden} }, unknown, "Password", "forbidden", "",
		},
		"a Secret that the API server rejects": {
			healthy(generates, ready(metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound)), func(f *facts) { f.secret.it = nil },
			wrong, "Password", "the API server rejects it", "quota",
		},
		"a Secret that the operator has no right to create": {
			healthy(generates, ready(metav1.ConditionFalse, v1alpha1.ReasonGenerationDisabled)), func(f *facts) { f.secret.it = nil },
			wrong, "Password", "may not create Secrets there", "generatedPasswords.enabled=true",
		},
		"a Secret that waits for the database": {
			healthy(generates, ready(metav1.ConditionFalse, v1alpha1.ReasonDatabaseUnavailable)), func(f *facts) { f.secret.it = nil },
			wrong, "Password", "the database must be available first", "",
		},
		"a Secret that waits for another problem": {
			healthy(generates, ready(metav1.ConditionFalse, v1alpha1.ReasonUsernameTaken)), func(f *facts) { f.secret.it = nil },
			wrong, "Password", "the problem that Ready reports", "",
		},
		"a Secret of a paused user": {
			healthy(generates, annotated(v1alpha1.AnnotationPaused), ready(metav1.ConditionUnknown, v1alpha1.ReasonPaused)),
			func(f *facts) { f.secret.it = nil }, wrong, "Password", "the user is paused", "",
		},
		"a Secret of an edit that was not reconciled": {
			healthy(generates, edited), func(f *facts) { f.secret.it = nil }, wrong, "Password", "not processed the user yet", "",
		},
		"a Secret that was just deleted": {
			healthy(generates), func(f *facts) { f.secret.it = nil }, note, "Password", "with a new password", "",
		},
		"a Secret that the operator did not create": {
			healthy(generates), func(*facts) {}, note, "Password", "did not create the Secret", "delete the Secret",
		},
	})
}

func TestDiagnosisOfThePassword(t *testing.T) {
	runDiagnosis(t, map[string]diagnosisCase{
		"an old password": {healthy(expired), func(*facts) {}, note, "Account", "PasswordExpired: Old.", "set-password alice -n team-a"},
		"an old generated password": {
			healthy(generates, expired), func(f *facts) { f.secret.it.OwnerReferences = madeFor(f.user) },
			note, "Account", "PasswordExpired: Old.", "allow it to patch Secrets",
		},
		"an old generated password of a paused user": {
			healthy(generates, expired, annotated(v1alpha1.AnnotationPaused)), func(f *facts) { f.secret.it.OwnerReferences = madeFor(f.user) },
			note, "Account", "PasswordExpired: Old.", "no longer paused",
		},
		"a password that is not managed": {
			healthy(func(u *v1alpha1.ShardingUser) { u.Spec.Password = nil }), func(*facts) {}, fine, "Password", "never changes the password", "",
		},
	})
}

func TestDiagnosisOfTheResource(t *testing.T) {
	runDiagnosis(t, map[string]diagnosisCase{
		"a reason of Ready": {
			healthy(ready(metav1.ConditionFalse, v1alpha1.ReasonDatabaseUnavailable)), func(*facts) {},
			wrong, "Ready", "DatabaseUnavailable: Because.", "Fix the database problem",
		},
		"an edit that was not reconciled": {healthy(edited), func(*facts) {}, wrong, "Ready", "generation 4", "--watch-namespaces"},
		"a user that was not reconciled":  {healthy(unseen), func(*facts) {}, wrong, "Ready", "60m after", "--watch-namespaces"},
		"a paused user": {
			healthy(annotated(v1alpha1.AnnotationPaused), ready(metav1.ConditionUnknown, v1alpha1.ReasonPaused)), func(*facts) {},
			wrong, "Paused", "sharding.io/paused", "sharding.io/paused-",
		},
		"a deletion that waits": {healthy(deleted), func(*facts) {}, wrong, "Deletion", "60s ago", `kubectl patch shardinguser alice -n team-a --type=merge -p '{"spec":{"deletionPolicy":"Retain"}}'`},
		"a username of another resource": {
			healthy(ready(metav1.ConditionFalse, v1alpha1.ReasonUsernameTaken)), func(f *facts) { f.others = []string{"b/alice"} },
			wrong, "Username", "b/alice", "another username",
		},
		"a username of a resource that cannot be read": {
			healthy(ready(metav1.ConditionFalse, v1alpha1.ReasonUsernameTaken)), func(f *facts) { f.nearby = true },
			unknown, "Username", "the only one that could be read", "",
		},
		"another resource with the same username": {
			healthy(), func(f *facts) { f.others = []string{"b/alice"} }, note, "Username", "b/alice", "",
		},
	})
}

func TestDiagnosisOfPoliciesOperatorAndAccount(t *testing.T) {
	runDiagnosis(t, map[string]diagnosisCase{
		"a user that no policy permits": {
			healthy(), func(f *facts) {
				f.policies.it, f.labels.it = new(viewersOnly()), &map[string]string{}
			}, wrong, "Policies", `"operator"`, "policies",
		},
		"a user that a policy permits": {
			healthy(func(u *v1alpha1.ShardingUser) { u.Spec.Roles = []v1alpha1.Role{"viewer"} }), func(f *facts) {
				f.policies.it, f.labels.it = new(viewersOnly()), &map[string]string{}
			}, fine, "Policies", `"viewers" permits`, "",
		},
		"policies that cannot be read": {
			healthy(), func(f *facts) { f.policies = seen[[]v1alpha1.ShardingUserPolicy]{err: errForbidden} }, unknown, "Policies", "forbidden", "",
		},
		"labels that cannot be read": {
			healthy(), func(f *facts) { f.policies.it, f.labels.err = new(viewersOnly()), errForbidden }, unknown, "Policies", "labels", "",
		},
		"an operator that does not renew its lease": {
			healthy(), func(f *facts) { f.lease.it = lease("pod-1", now.Add(-time.Minute)) }, wrong, "Operator", "60s ago", "Start",
		},
		"an operator that released its lease": {
			healthy(), func(f *facts) { f.lease.it = lease("", now) }, wrong, "Operator", "No replica holds", "Start",
		},
		"an operator without a lease": {
			healthy(), func(f *facts) { f.lease.it = nil }, unknown, "Operator", `"system"`, "--operator-namespace",
		},
		"an operator whose lease cannot be read": {
			healthy(), func(f *facts) { f.lease = seen[coordinationv1.Lease]{err: errForbidden} }, unknown, "Operator", "forbidden", "",
		},
		"a lock":              {healthy(locked), func(*facts) {}, note, "Account", "until 2026-01-02T03:04:05Z, after 5", "unlock alice"},
		"an inactive account": {healthy(inactive), func(*facts) {}, note, "Account", "every login is refused", "lock --undo alice"},
		"a weak password":     {healthy(weak), func(*facts) {}, note, "Account", "WeakPassword: Weak.", ""},
		"the last Warning Event": {
			healthy(edited), func(f *facts) {
				f.events = []corev1.Event{{Reason: "RowExists", Message: "A row.", LastTimestamp: metav1.NewTime(now.Add(-time.Minute))}}
			}, note, "Event", "60s ago, RowExists: A row.", "",
		},
	})
}

func TestSecretThatIsInOtherNamespaces(t *testing.T) {
	for name, tt := range map[string]struct {
		astray []string
		want   string // "" where nothing is said
	}{
		"no other namespace that can be read": {nil, ""},
		"one":                                 {[]string{"b"}, `The Secret "s" exists in namespace b. A ShardingUser reads only Secrets of its own namespace.`},
		"some":                                {[]string{"b", "c"}, `The Secret "s" exists in namespace b, c. A ShardingUser reads only Secrets of its own namespace.`},
		"many": {
			strings.Split("b c d e f g h", " "), `The Secret "s" exists in namespace b, c, d, e, f and 2 more. A ShardingUser reads only Secrets of its own namespace.`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthy()
			f.secret.it, f.astray = nil, tt.astray
			results := checkPassword(f)
			if results[0].Level != wrong || !strings.Contains(results[0].Message, "does not exist") {
				t.Errorf("it begins with %v", results[0])
			}
			got := ""
			for _, r := range results[1:] {
				got += r.Message
			}
			if got != tt.want {
				t.Errorf("it goes on with %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAHealthyUserHasNoProblems(t *testing.T) {
	made := healthy(generates)
	made.secret.it.OwnerReferences = madeFor(made.user)
	for _, f := range []facts{healthy(), made} {
		f.events = []corev1.Event{{Reason: "DatabaseUnavailable"}} // is over
		for _, r := range diagnose(f) {
			if r.Level != fine {
				t.Errorf("%s is %s: %s", r.Check, r.Level, r.Message)
			}
		}
	}
}

// A user who may write Events in a namespace cannot control an administrator's terminal.
func TestDiagnosisEscapesControlCharacters(t *testing.T) {
	var out bytes.Buffer
	d := doctor{env: &env{Out: &stream{&out}}}
	d.results([]result{{Check: "Event", Level: note, Message: "\x1b[2J", Advice: "\x1b]0;"}})
	table(&stream{&out}, []string{"A"}, [][]string{{"\x1b[2J"}})
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("it is told %q", out.String())
	}
}

// A reason without advice leaves people alone.
func TestEveryReasonOfReadyHasAdvice(t *testing.T) {
	for _, reason := range user.ReadyReasons() {
		switch reason {
		case v1alpha1.ReasonSynced, v1alpha1.ReasonPending, v1alpha1.ReasonPaused: // checkReady and checkPaused have sentences of their own
			continue
		}
		if adviceFor(reason, aUser()) == "" || adviceFor(reason, aUser(withSecret(v1alpha1.PasswordFormatPlain), generates)) == "" {
			t.Errorf("there is no advice about %s", reason)
		}
	}
}
