// SPDX-License-Identifier: Apache-2.0

package user

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Event is a Kubernetes Event about an account.
type Event struct {
	Warning bool
	Reason  string
	Message string
}

// ChangeEvents returns the Events of a change that was made, and of the drift that it corrected.
func ChangeEvents(c Change, drift []Field) []Event {
	var events []Event
	add := func(warning bool, reason, format string, args ...any) {
		events = append(events, Event{Warning: warning, Reason: reason, Message: fmt.Sprintf(format, args...)})
	}
	if len(drift) > 0 {
		add(true, v1alpha1.EventDriftCorrected, "Another program changed %s. Corrected%s.", list(drift), grounds(c))
	}
	switch c.Verb {
	case Create:
		if len(drift) == 0 {
			add(false, v1alpha1.EventCreated, "Created the row for username %q.", c.Username)
		}
	case Adopt:
		add(false, v1alpha1.EventAdopted, "Adopted the row for username %q.", c.Username)
	case Update:
		if c.Suspended && slices.Contains(c.Write, FieldActive) && len(drift) == 0 {
			add(false, v1alpha1.EventDeactivated, "Deactivated the row for username %q: no policy permits the resource.", c.Username)
			break
		}
		if fields := without(updatedFields(c), drift); len(fields) > 0 {
			add(false, v1alpha1.EventUpdated, "Updated %s.", list(fields))
		}
	case Delete:
		add(false, v1alpha1.EventDeleted, "Deleted the row for username %q.", c.Username)
	case Deactivate:
		add(false, v1alpha1.EventDeactivated, "Deactivated the row for username %q; the row stays in the table.", c.Username)
	case Nothing, Release, Bury, Suspend: // a Suspend has no resource for an Event
	}
	created := c.Verb == Create && len(drift) == 0 // a new account's first values are no changes
	if c.Password != nil && c.Password.New && !created {
		add(false, v1alpha1.EventPasswordChanged, "The password was changed.")
	}
	return append(events, requestEvents(c)...)
}

// requestEvents returns the Events of requests in annotations.
func requestEvents(c Change) (events []Event) {
	if c.Unlock != "" && c.ClearLockout && c.Verb != Create {
		events = append(events, Event{Reason: v1alpha1.EventUnlocked, Message: "Unlocked by request: the lock and the failed-attempt counter were cleared."})
	}
	if c.SignOut != "" && c.Verb == Update {
		events = append(events, Event{Reason: v1alpha1.EventSignedOut, Message: "Signed out by request: tokens that were issued before are refused."})
	}
	return events
}

// updatedFields returns the fields of an Update that an Event names. A written hash is reported as drift or as
// PasswordChanged, or belongs to the change of active. Conditions report an end and a standing lock.
func updatedFields(c Change) []Field {
	others := []Field{FieldPasswordHash}
	if c.Withheld != NotWithheld {
		others = append(others, FieldActive)
	}
	return without(c.Write, others)
}

// StatusEvents returns the Events of the difference between two statuses: Ready that became False, a lock that began or
// ended, an account that ended, a password that is weak, suspicious or too old. ChangeEvents already reports an unlock by request.
func StatusEvents(from, to v1alpha1.ShardingUserStatus) []Event {
	var events []Event
	ready := meta.FindStatusCondition(to.Conditions, v1alpha1.ConditionReady)
	if ready != nil && ready.Status == metav1.ConditionFalse && changed(from, ready) {
		events = append(events, Event{Warning: true, Reason: ready.Reason, Message: brief(ready.Message)})
	}
	for _, warning := range []string{
		v1alpha1.ConditionWeakPassword, v1alpha1.ConditionPasswordSuspicious, v1alpha1.ConditionPasswordExpired,
	} {
		if c := meta.FindStatusCondition(to.Conditions, warning); c != nil && changed(from, c) {
			events = append(events, Event{Warning: true, Reason: warning, Message: brief(c.Message)})
		}
	}
	if ended := meta.FindStatusCondition(to.Conditions, v1alpha1.ConditionExpired); ended != nil && changed(from, ended) {
		events = append(events, Event{Reason: v1alpha1.EventExpired, Message: ended.Message})
	}
	locked := meta.FindStatusCondition(to.Conditions, v1alpha1.ConditionLocked)
	switch {
	case locked == nil:
	case to.Locked && (!from.Locked || changed(from, locked)):
		events = append(events, Event{Warning: true, Reason: v1alpha1.EventLocked, Message: brief(locked.Message)})
	case from.Locked && !to.Locked && from.LastHandledUnlock == to.LastHandledUnlock:
		events = append(events, Event{Reason: v1alpha1.EventUnlocked, Message: locked.Message})
	}
	return events
}

// brief shortens a condition's message for an Event: the API server rejects messages of more than a kilobyte.
func brief(message string) string {
	const most = 1000
	if len(message) <= most {
		return message
	}
	return strings.ToValidUTF8(message[:most], "") + "..."
}

// changed reports whether a condition is new or has another status or reason.
func changed(from v1alpha1.ShardingUserStatus, to *metav1.Condition) bool {
	was := meta.FindStatusCondition(from.Conditions, to.Type)
	return was == nil || was.Status != to.Status || was.Reason != to.Reason
}

// grounds says why drift was corrected.
func grounds(c Change) string {
	if c.Suspended {
		return ": no policy permits the resource"
	}
	return " to match the spec"
}

func list(fields []Field) string {
	names := make([]string, 0, len(fields))
	for _, f := range fields {
		if f == FieldRow {
			return "the whole row"
		}
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}

// without returns the fields that are not among the others.
func without(fields, others []Field) []Field {
	return slices.DeleteFunc(slices.Clone(fields), func(f Field) bool { return slices.Contains(others, f) })
}
