// SPDX-License-Identifier: Apache-2.0

package user

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// FieldLockout is the lock and the failed-attempt counter. It cannot drift; only an unlock request clears it.
const FieldLockout Field = "locked_until"

// Unkept returns the fields of an accepted change that the database did not keep: those that the plan for the account,
// as read back, still changes. It returns none if the account is as planned.
//
// After a decision with Again only the same step counts, because another step is the next one.
func Unkept(d Desired, made Decision, after Observed) []Field {
	// The ownership record already says that the account has ended, and the next plan relies on it.
	switch verb := made.Change.Verb; {
	// Only an account that has ended can have another owner. That owner's row does not show that this one was kept.
	case hasOtherOwner(after, made.Change.Owner):
	case verb == Delete && after.Row != nil:
		return []Field{FieldRow}
	case (verb == Deactivate || verb == Suspend) && after.Row != nil && after.Row.Active:
		return []Field{FieldActive}
	}
	next := Plan(d, after).Change
	if made.Change.Verb == Bury && next.Verb == Bury {
		return nil // the record of a released username stays, with a new revision
	}
	if next.Verb == Nothing || made.Again && (next.Verb != made.Change.Verb || !next.Owner.Is(made.Change.Owner)) {
		return nil
	}
	var fields []Field
	switch next.Verb {
	case Create, Delete, Bury:
		return []Field{FieldRow}
	case Deactivate, Suspend:
		return []Field{FieldActive}
	case Update:
		fields = asked(next)
	case Adopt, Release, Nothing:
	}
	if next.Unlock != "" {
		fields = append(fields, FieldLockout)
	}
	if len(fields) == 0 {
		return []Field{FieldRow}
	}
	return fields
}

// hasOtherOwner reports whether another resource owns the row now.
func hasOtherOwner(o Observed, owner Owner) bool {
	return o.Ownership != nil && o.Ownership.State == Owned && !o.Ownership.Owner.Is(owner)
}

// asked returns the fields that an Update writes, without a hash that is disabled or enabled together with active.
func asked(c Change) []Field {
	if slices.Contains(c.Write, FieldActive) && c.NewHash() == "" {
		return without(c.Write, []Field{FieldPasswordHash})
	}
	return slices.Clone(c.Write)
}

// NotKept is the problem of a change that the database accepted but did not keep. Explanation names the cause within
// the database; if it is empty, another program overwrote the row at once.
func NotKept(made Decision, after Observed, fields []Field, explanation string) *Problem {
	c := made.Change
	var what string
	if explanation == "" && (c.Verb == Update || c.Verb == Adopt || c.Verb == Create) {
		return suspended(made, contended(fields, ""))
	}
	switch {
	case IsHashNotDisabled(fields, after):
		return HashNotDisabled(made, explanation)
	case slices.Contains(fields, FieldRow) && after.Row != nil:
		what = fmt.Sprintf("The database did not delete the row for username %q: the account still exists.", c.Username)
	case slices.Contains(fields, FieldRow):
		what = fmt.Sprintf("The database accepted the row for username %q but did not keep it.", c.Username)
	case slices.Equal(fields, []Field{FieldActive}) && after.Row != nil && after.Row.Active && EnabledHash(after.Row.PasswordHash) != after.Row.PasswordHash:
		what = "The database did not keep the change: column active is still true. The password hash is disabled, so no password matches it."
	case slices.Equal(fields, []Field{FieldActive}) && after.Row != nil && after.Row.Active:
		what = "The database did not keep the change: column active is still true, and the account can log in."
	case slices.Equal(fields, []Field{FieldLockout}):
		what = "The database did not keep the change: it did not clear the lock or the failed-attempt counter."
	default:
		what = fmt.Sprintf("The database did not keep the change of %s.", columnList(fields))
	}
	return suspended(made, Rejected(what+space(explanation), c.Verb == Delete || c.Verb == Deactivate || c.Verb == Release))
}

// IsHashNotDisabled reports whether the only field that the database did not keep is the disabled hash of an inactive
// row.
func IsHashNotDisabled(fields []Field, after Observed) bool {
	return slices.Equal(fields, []Field{FieldPasswordHash}) && after.Row.NeedsDisabledHash()
}

// HashNotDisabled is the problem of an inactive row whose hash the database does not let the operator disable. The
// sentence says why.
func HashNotDisabled(made Decision, sentence string) *Problem {
	return suspended(made, Rejected("The row is inactive, but the operator cannot disable its password hash. A program that checks the "+
		"password before the column active may accept a login of this user."+space(sentence), false))
}

// HashNotDisabledEvent is HashNotDisabled as an Event, for a row whose resource is deleted by this change.
func HashNotDisabledEvent(made Decision, sentence string) Event {
	return Event{Warning: true, Reason: v1alpha1.ReasonDatabaseRejected, Message: brief(HashNotDisabled(made, sentence).Message)}
}

// Rejected is the problem of a change that the database rejects. The sentence says why.
func Rejected(sentence string, deleting bool) *Problem {
	if deleting {
		sentence = "The deletion is blocked: " + sentence
	}
	return &Problem{Reason: v1alpha1.ReasonDatabaseRejected, Message: sentence}
}

// Contended is the problem of a row that another program overwrites after every correction. The operator then waits
// before it corrects the row again.
func Contended(made Decision, explanation string) *Problem {
	return suspended(made, contended(made.Corrects(), explanation))
}

func contended(fields []Field, explanation string) *Problem {
	return &Problem{Reason: v1alpha1.ReasonDatabaseRejected, Message: fmt.Sprintf(
		"Contended: another program overwrites %s after each write of the operator, so the operator waits between writes; "+
			"stop the other program, or change the resource.", columnList(fields)) + space(explanation)}
}

// Unsettled is the problem of a change whose attempts all lost to other writers.
func Unsettled(deleting bool) *Problem {
	return Rejected("Each of several attempts failed: another writer changed the account, or the database rolled the change back "+
		"(SQLSTATE 40001 or 40P01). Find the program or the trigger that writes the row.", deleting)
}

// suspended keeps the reason of a resource that no policy permits.
func suspended(made Decision, p *Problem) *Problem {
	if made.Problem == nil || made.Problem.Reason != v1alpha1.ReasonNotPermitted {
		return p
	}
	return &Problem{Reason: made.Problem.Reason, Message: made.Problem.Message + " " + p.Message}
}

// columnList returns the fields as text.
func columnList(fields []Field) string {
	if slices.Contains(fields, FieldRow) {
		return "the row"
	}
	names := make([]string, 0, len(fields))
	for _, f := range fields {
		names = append(names, string(f))
	}
	if len(names) == 1 {
		return "column " + names[0]
	}
	return "columns " + strings.Join(names, ", ")
}

func space(sentence string) string {
	if sentence == "" {
		return ""
	}
	return " " + sentence
}

// Asked identifies what a resource asks for at a time by the database's clock, which is zero if that is not known: its spec,
// Secret, annotations and policies. If it differs, a rejected write is retried at once.
func Asked(d Desired, now time.Time) string {
	return fmt.Sprintf("%d %t %t %q %q %t %q %t %v %s", d.Generation, d.Deleting, d.Paused, d.Unlock, d.SignOut, d.Unprotected,
		d.Password.Version, d.Permission.Refusal != nil, d.Permission.Lockout, d.Withheld(now))
}
