// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/policy"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// seen is what was looked for: nil where it is not there; err says why it could not be looked at.
type seen[T any] struct {
	it  *T
	err error
}

// facts are what a diagnosis rests on.
type facts struct {
	now      time.Time
	user     *v1alpha1.ShardingUser
	secret   seen[corev1.Secret]
	astray   []string // other namespaces that have a Secret of that name, where the user's has none, as far as could be looked
	policies seen[[]v1alpha1.ShardingUserPolicy]
	labels   seen[map[string]string] // of the user's namespace

	others  []string // namespace/name of other users of the same username, as far as could be looked
	nearby  bool     // that was in the user's own namespace only
	lease   seen[coordinationv1.Lease]
	leaseIn string           // the namespace where the lease was looked for
	events  []corev1.Event   // warnings about the user, the latest first
	ready   metav1.Condition // of the user; the zero condition where there is none
}

// level is how grave a result is.
type level string

const (
	fine    level = "ok"
	note    level = "note"    // worth knowing, nothing wrong
	unknown level = "unknown" // could not be looked at
	wrong   level = "WRONG"
)

// result is that of one check.
type result struct {
	Check   string `json:"check"`
	Level   level  `json:"level"`
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"`
}

// diagnose says of a user what is in order and what is not.
func diagnose(f facts) (results []result) {
	if c := meta.FindStatusCondition(f.user.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		f.ready = *c
	}
	for _, check := range []func(facts) []result{
		checkDeletion, checkPaused, checkReady, checkPassword, checkPermission, checkUsername, checkAccount,
	} {
		results = append(results, check(f)...)
	}
	results = append(results, checkOperator(f.lease, f.leaseIn, f.now))
	if isWrong(results) { // else they report the past
		results = append(results, checkEvents(f)...)
	}
	return results
}

func one(check string, l level, advice, format string, args ...any) []result {
	return []result{{Check: check, Level: l, Message: fmt.Sprintf(format, args...), Advice: advice}}
}

func checkDeletion(f facts) []result {
	if f.user.DeletionTimestamp.IsZero() {
		return nil
	}
	advice := "Fix the other problems listed here; the deletion then continues."
	if f.user.Spec.DeletionPolicy != v1alpha1.DeletionRetain {
		advice += fmt.Sprintf(" To keep the row unchanged instead: kubectl patch shardinguser %s -n %s --type=merge "+
			`-p '{"spec":{"deletionPolicy":"Retain"}}'.`, f.user.Name, f.user.Namespace)
	}
	advice += " Do not remove the finalizer: the account would stay, and the operator would take it for an orphan."
	return one("Deletion", wrong, advice,
		"It was deleted %s ago and waits until the operator has handled its row (deletionPolicy %s).",
		ago(f.now, &f.user.DeletionTimestamp.Time), f.user.Spec.DeletionPolicy)
}

func checkPaused(f facts) []result {
	if f.user.Annotations[v1alpha1.AnnotationPaused] != "true" {
		return nil
	}
	return one("Paused", wrong, fmt.Sprintf("kubectl annotate shardinguser %s -n %s %s-", f.user.Name, f.user.Namespace, v1alpha1.AnnotationPaused),
		"The annotation %s is set: the operator changes nothing in the database.", v1alpha1.AnnotationPaused)
}

func checkReady(f facts) []result {
	u, c := f.user, f.ready
	switch {
	case c.Type == "", c.Reason == v1alpha1.ReasonPending:
		return one("Ready", wrong, "Check that the operator is running, and that its --watch-namespaces includes this namespace.",
			"The operator has not processed it yet, %s after it was created.", ago(f.now, &u.CreationTimestamp.Time))
	case c.ObservedGeneration != u.Generation:
		return one("Ready", wrong, "Check that the operator is running, and that its --watch-namespaces includes this namespace.",
			"The operator has not processed the latest edit (generation %d) yet; it has processed generation %d.", u.Generation, c.ObservedGeneration)
	case c.Status == metav1.ConditionTrue:
		return one("Ready", fine, "", "The row matches the spec.")
	case c.Reason == v1alpha1.ReasonPaused:
		return nil // was told
	}
	return one("Ready", wrong, adviceFor(c.Reason, u), "%s: %s", c.Reason, c.Message)
}

// adviceFor is what to do about a reason of Ready.
func adviceFor(reason string, u *v1alpha1.ShardingUser) string {
	switch reason {
	case v1alpha1.ReasonSecretNotFound:
		if makes(u) {
			return "Check the namespace's quota and the cluster's admission policies, or create the Secret."
		}
		return fmt.Sprintf("Create the Secret (kubectl shardinguser set-password %s -n %s), or correct spec.password.secretRef.name.", u.Name, u.Namespace)
	case v1alpha1.ReasonGenerationDisabled:
		return "Apply config/generated-passwords (Helm: generatedPasswords.enabled=true), or create the Secret."
	case v1alpha1.ReasonSecretKeyNotFound:
		return "Add the key to the Secret, or correct spec.password.secretRef.key."
	case v1alpha1.ReasonPasswordInvalid:
		return fmt.Sprintf("Put a valid value into the Secret (kubectl shardinguser set-password %s -n %s). The old password stays valid until then.", u.Name, u.Namespace)
	case v1alpha1.ReasonUsernameTaken:
		return "Choose another username, or delete the other resource. The username is then transferred automatically."
	case v1alpha1.ReasonRowExists:
		return "Set spec.adoptionPolicy to IfUnowned if this resource should adopt the row."
	case v1alpha1.ReasonNotPermitted:
		return "Change the resource so that a policy permits it, or ask the administrators of the policies."
	case v1alpha1.ReasonDatabaseRejected:
		return "Change the constraint, trigger, rule, policy or column of the table users that the message names. The operator retries within " +
			"10 minutes, and immediately after an edit."
	case v1alpha1.ReasonLastAdministrator:
		return "Give the role to another active user, or set the annotation " + v1alpha1.AnnotationAllowLastAdministrator + `: "true".`
	case v1alpha1.ReasonDatabaseUnavailable:
		return "Fix the database problem in the message. No restart is needed."
	}
	return ""
}

func checkPassword(f facts) []result {
	source := f.user.Spec.Password
	if source == nil {
		return one("Password", fine, "", "Without spec.password, the operator never changes the password.")
	}
	name, key := source.SecretRef.Name, source.SecretRef.Key
	switch {
	case f.secret.err != nil:
		return one("Password", unknown, "", "Cannot read the Secret %q: %v.", name, f.secret.err)
	case f.secret.it == nil:
		if makes(f.user) {
			return checkUnmade(f)
		}
		return checkAstray(f)
	}
	if _, ok := f.secret.it.Data[key]; !ok {
		problem := user.NoSuchKey(name, key, slices.Collect(maps.Keys(f.secret.it.Data)))
		return one("Password", wrong, adviceFor(problem.Reason, f.user), "%s", problem.Message)
	}
	given := password.FromSecret(string(f.secret.it.Type), key, f.secret.it.Data)
	given.Hashed = source.Format == v1alpha1.PasswordFormatBcrypt
	inspected := given.Inspect(user.Username(f.user), 1) // only the operator knows its minimum length
	if inspected.Err != nil {
		return one("Password", wrong, adviceFor(v1alpha1.ReasonPasswordInvalid, f.user), "The key %q of the Secret %q is invalid: %v.", key, name, inspected.Err)
	}
	results := one("Password", fine, "", "The Secret %q has a valid value (format %s).", name, source.Format)
	if inspected.Suspicion != "" && !meta.IsStatusConditionTrue(f.user.Status.Conditions, v1alpha1.ConditionPasswordSuspicious) {
		results = append(results, one("Password", note, adviceForWarning(f, v1alpha1.ConditionPasswordSuspicious),
			"The key %q of the Secret %q is probably not what was intended: it %v.", key, name, inspected.Suspicion)...)
	}
	if makes(f.user) && !metav1.IsControlledBy(f.secret.it, f.user) {
		results = append(results, one("Password", note, "To let the operator generate the password, delete the Secret.",
			"The operator did not create the Secret %q, despite spec.password.generate, and never changes it.", name)...)
	}
	return results
}

// checkAstray reports that the Secret does not exist, and which other namespaces have one of its name.
func checkAstray(f facts) []result {
	name := f.user.Spec.Password.SecretRef.Name
	results := one("Password", wrong, adviceFor(v1alpha1.ReasonSecretNotFound, f.user), "The Secret %q does not exist.", name)
	if len(f.astray) == 0 {
		return results
	}
	const most = 5
	where := strings.Join(f.astray[:min(most, len(f.astray))], ", ")
	if len(f.astray) > most {
		where += fmt.Sprintf(" and %d more", len(f.astray)-most)
	}
	return append(results, one("Password", note, "Create the Secret in the namespace "+f.user.Namespace+", or move the ShardingUser.",
		"The Secret %q exists in namespace %s. A ShardingUser reads only Secrets of its own namespace.", name, where)...)
}

// makes tells whether the operator is to make the user's password.
func makes(u *v1alpha1.ShardingUser) bool {
	return u.Spec.Password != nil && u.Spec.Password.Generate != nil
}

// checkUnmade says why the operator has not made a Secret that it is to make.
func checkUnmade(f facts) []result {
	l, why, advice := wrong, "the problem that Ready reports must be fixed first", ""
	switch {
	case !f.user.DeletionTimestamp.IsZero():
		return nil // nobody needs it any more
	case f.user.Annotations[v1alpha1.AnnotationPaused] == "true":
		why = "the user is paused"
	case f.ready.Type == "" || f.ready.ObservedGeneration != f.user.Generation:
		why = "it has not processed the user yet"
	case f.ready.Status == metav1.ConditionTrue:
		l, why = note, "if the Secret was just deleted, the operator creates a new one with a new password"
	case f.ready.Reason == v1alpha1.ReasonGenerationDisabled:
		why, advice = "it may not create Secrets there", adviceFor(f.ready.Reason, f.user)
	case f.ready.Reason == v1alpha1.ReasonSecretNotFound:
		why, advice = "the API server rejects it", adviceFor(f.ready.Reason, f.user)
	case f.ready.Reason == v1alpha1.ReasonDatabaseUnavailable:
		why = "the database must be available first"
	}
	return one("Password", l, advice, "The Secret %q does not exist. The operator has not created it yet: %s.", f.user.Spec.Password.SecretRef.Name, why)
}

func checkPermission(f facts) []result {
	const check = "Policies"
	switch {
	case f.policies.err != nil:
		return one(check, unknown, "", "Cannot read the ShardingUserPolicies: %v.", f.policies.err)
	case len(*f.policies.it) == 0:
		return one(check, fine, "", "No ShardingUserPolicy exists: everything is permitted.")
	case f.labels.err != nil:
		return one(check, unknown, "", "Cannot read the labels of the namespace, which policies select by: %v.", f.labels.err)
	}
	permission := policy.New(*f.policies.it).Permission(*f.labels.it, f.user, f.now)
	if permission.Refusal != nil {
		return one(check, wrong, adviceFor(v1alpha1.ReasonNotPermitted, f.user), "%s", permission.Refusal.Message)
	}
	return one(check, fine, "", "The ShardingUserPolicy %q permits it.", permission.By)
}

func checkUsername(f facts) []result {
	const check = "Username"
	username := user.Username(f.user)
	where := "in the cluster"
	if f.nearby {
		where = "in this namespace, the only one that could be read,"
	}
	taken := f.ready.Reason == v1alpha1.ReasonUsernameTaken
	switch {
	case taken && len(f.others) > 0:
		return one(check, wrong, adviceFor(v1alpha1.ReasonUsernameTaken, f.user), "%q is also claimed by %s.", username, strings.Join(f.others, ", "))
	case taken:
		return one(check, unknown, "", "No other resource %s claims %q. The owner may be in another namespace.", where, username)
	case len(f.others) > 0:
		return one(check, note, "", "%q is also claimed by %s, which does not own it.", username, strings.Join(f.others, ", "))
	}
	return one(check, fine, "", "No other resource %s claims %q.", where, username)
}

// checkAccount tells what keeps a user from logging in though nothing is wrong with the resource.
func checkAccount(f facts) (results []result) {
	u := f.user
	if u.Status.Expired && u.Spec.ValidUntil != nil {
		results = append(results, one("Account", note, "Set spec.validUntil to a later time if the user should log in again.",
			"It ended at %s: every login is refused.", u.Spec.ValidUntil.UTC().Format(time.RFC3339))...)
	}
	c := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionLocked)
	isStanding := c != nil && c.Reason == v1alpha1.ReasonLockedByRequest
	if u.Status.Locked && isStanding {
		results = append(results, one("Account", note, fmt.Sprintf("kubectl shardinguser unlock %s -n %s", u.Name, u.Namespace), "%s", c.Message)...)
	}
	if u.Status.Locked && !isStanding {
		until := ""
		if u.Status.LockedUntil != nil {
			until = " until " + u.Status.LockedUntil.UTC().Format(time.RFC3339)
		}
		results = append(results, one("Account", note, fmt.Sprintf("kubectl shardinguser unlock %s -n %s", u.Name, u.Namespace),
			"It is locked%s, after %d failed attempts.", until, u.Status.FailedLoginAttempts)...)
	}
	if u.Spec.Active != nil && !*u.Spec.Active {
		results = append(results, one("Account", note, fmt.Sprintf("kubectl shardinguser lock --undo %s -n %s", u.Name, u.Namespace),
			"spec.active is false: every login is refused.")...)
	}
	for _, name := range warnings(u) {
		c := meta.FindStatusCondition(u.Status.Conditions, name)
		results = append(results, one("Account", note, adviceForWarning(f, name), "%s: %s", name, c.Message)...)
	}
	return results
}

// adviceForWarning returns what to do about a warning.
func adviceForWarning(f facts, warning string) string {
	made := makes(f.user) && (f.secret.it == nil || metav1.IsControlledBy(f.secret.it, f.user))
	switch {
	case warning == v1alpha1.ConditionPasswordExpired && made && f.user.Annotations[v1alpha1.AnnotationPaused] == "true":
		return "The operator replaces the password when the user is no longer paused."
	case warning == v1alpha1.ConditionPasswordExpired && made:
		return "The operator replaces the password within minutes. If it does not, allow it to patch Secrets in the namespace."
	}
	return fmt.Sprintf("kubectl shardinguser set-password %s -n %s", f.user.Name, f.user.Namespace)
}

// checkOperator tells by the leader's lease whether the operator runs.
func checkOperator(lease seen[coordinationv1.Lease], namespace string, now time.Time) result {
	const check, start = "Operator", "Start the operator. If it does not keep running, check its log."
	var results []result
	switch {
	case lease.err != nil:
		results = one(check, unknown, "", "Cannot read its lease in the namespace %q: %v.", namespace, lease.err)
	case lease.it == nil:
		results = one(check, unknown, "Set --operator-namespace to its namespace.",
			"It has no lease in the namespace %q: it is not installed there, or runs without --leader-elect.", namespace)
	default:
		spec := lease.it.Spec
		switch {
		case spec.RenewTime == nil || spec.HolderIdentity == nil || *spec.HolderIdentity == "":
			results = one(check, wrong, start, "No replica holds its lease in the namespace %q.", namespace)
		case now.Sub(spec.RenewTime.Time) > 2*leaseDuration(spec):
			results = one(check, wrong, start, "Its lease was last renewed %s ago, by %s.", ago(now, &spec.RenewTime.Time), *spec.HolderIdentity)
		default:
			results = one(check, fine, "", "%s is the leader.", *spec.HolderIdentity)
		}
	}
	return results[0]
}

func leaseDuration(spec coordinationv1.LeaseSpec) time.Duration {
	if spec.LeaseDurationSeconds == nil {
		return 15 * time.Second
	}
	return time.Duration(*spec.LeaseDurationSeconds) * time.Second
}

// checkEvents tells the latest warnings.
func checkEvents(f facts) (results []result) {
	const most = 3
	for _, event := range f.events[:min(most, len(f.events))] {
		results = append(results, one("Event", note, "", "%s ago, %s: %s", ago(f.now, new(timeOfEvent(event))), event.Reason, event.Message)...)
	}
	return results
}

// timeOfEvent is when an event was seen last, which depends on which of the two APIs it came by.
func timeOfEvent(event corev1.Event) time.Time {
	switch {
	case event.Series != nil:
		return event.Series.LastObservedTime.Time
	case !event.LastTimestamp.IsZero():
		return event.LastTimestamp.Time
	}
	return event.EventTime.Time
}

// isWrong tells whether any of the results is.
func isWrong(results []result) bool {
	for _, r := range results {
		if r.Level == wrong {
			return true
		}
	}
	return false
}
