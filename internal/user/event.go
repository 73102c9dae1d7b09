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

// Event is one thing that happened to an account, as it is told to people.
type Event struct {
	Warning bool
	Reason  string
	Message string
}

// ChangeEvents tells of a change that was made, and of the drift that it put back.
func ChangeEvents(c Change, drift []Field) []Event {
	var events []Event
	tell := func(warning bool, reason, format string, args ...any) {
		events = append(events, Event{Warning: warning, Reason: reason, Message: fmt.Sprintf(format, args...)})
	}
	if len(drift) > 0 {
		tell(true, v1alpha1.EventDriftCorrected, "Another program changed %s. Corrected%s.", list(drift), grounds(c))
	}
	switch c.Verb {
	case Create:
		if len(drift) == 0 {
			tell(false, v1alpha1.EventCreated, "Created the row for username %q.", c.Username)
		}
	case Adopt:
		tell(false, v1alpha1.EventAdopted, "Adopted the row for username %q.", c.Username)
	case Update:
		if c.Suspended && slices.Contains(c.Write, FieldActive) && len(drift) == 0 {
			tell(false, v1alpha1.EventDeactivated, "Deactivated the row for username %q: no policy permits the resource.", c.Username)
			break
		}
		// A hash that was written is drift, is told of as PasswordChanged, or goes with active.
		if fields := without(without(c.Write, drift), []Field{FieldPasswordHash}); len(fields) > 0 {
			tell(false, v1alpha1.EventUpdated, "Updated %s.", list(fields))
		}
	case Delete:
		tell(false, v1alpha1.EventDeleted, "Deleted the row for username %q.", c.Username)
	case Deactivate:
		tell(false, v1alpha1.EventDeactivated, "Deactivated the row for username %q; the row stays in the table.", c.Username)
	case Nothing, Release, Bury, Suspend: // of a Suspend there is no resource that an Event could be about
	}
	created := c.Verb == Create && len(drift) == 0 // what a new account begins with is no change
	if c.Password != nil && c.Password.New && !created {
		tell(false, v1alpha1.EventPasswordChanged, "The password was changed.")
	}
	if c.Unlock != "" && c.ClearLockout && c.Verb != Create {
		tell(false, v1alpha1.EventUnlocked, "Unlocked by request: the lock and the failed-attempt counter were cleared.")
	}
	return events
}

// StatusEvents tells of what became different from one status to the next: a Ready that turned False, a lock that
// came or went, a password that is weak, suspicious or too old. A lock that went by request was told of by ChangeEvents.
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
	locked := meta.FindStatusCondition(to.Conditions, v1alpha1.ConditionLocked)
	switch {
	case locked == nil:
	case to.Locked && !from.Locked:
		events = append(events, Event{Warning: true, Reason: v1alpha1.EventLocked, Message: locked.Message})
	case from.Locked && !to.Locked && from.LastHandledUnlock == to.LastHandledUnlock:
		events = append(events, Event{Reason: v1alpha1.EventUnlocked, Message: locked.Message})
	}
	return events
}

// brief is a condition's message as far as an Event holds it: the API server refuses one of more than a kilobyte.
func brief(message string) string {
	const most = 1000
	if len(message) <= most {
		return message
	}
	return strings.ToValidUTF8(message[:most], "") + "..."
}

// changed reports whether a condition is new, or says another thing than before by status or reason.
func changed(from v1alpha1.ShardingUserStatus, to *metav1.Condition) bool {
	was := meta.FindStatusCondition(from.Conditions, to.Type)
	return was == nil || was.Status != to.Status || was.Reason != to.Reason
}

// grounds is why a row is put back.
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

// without is the fields that are not among the others.
func without(fields, others []Field) []Field {
	return slices.DeleteFunc(slices.Clone(fields), func(f Field) bool { return slices.Contains(others, f) })
}
