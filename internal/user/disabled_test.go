// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
	"pgregory.net/rapid"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// disabledV1 and disabledAlien are hashes of inactive rows.
const (
	disabledV1    = "!2a$10$hash-of-v1"
	shutV2        = "!2a$10$hash-of-v2"
	disabledAlien = "!2a$10$hash-of-another-program"
)

func TestADisabledHashCanBeEnabled(t *testing.T) {
	digest := strings.Repeat("a", 53)
	for hash, want := range map[string]string{
		"$2a$10$" + digest: "!2a$10$" + digest,
		"$2b$10$" + digest: "!2b$10$" + digest,
		"$argon2id$v=19$m": "!argon2id$v=19$m",
		"$6$salt$digest":   "!6$salt$digest",
		"$hmac$print":      "!hmac$print",
	} {
		if got := user.DisabledHash(hash); got != want || len(got) != len(hash) {
			t.Errorf("%q disabled is %q, want %q", hash, got, want)
		}
		if got := user.EnabledHash(want); got != hash {
			t.Errorf("%q enabled is %q, want %q", want, got, hash)
		}
		if again := user.DisabledHash(want); again != want {
			t.Errorf("%q disabled again is %q", want, again)
		}
	}
}

func TestTextsThatAreNoHashStayUnchanged(t *testing.T) {
	for _, text := range []string{
		"", "!", "*", "!!", "$", "$$", "!$", "theirs", "!locked", "! 2a$10$", " $2a$10$", "$2a", "!2a", "x$2a$", "$ü$", "!ü$",
		"!YzcxNzA4ZGU2YjE4", // as Django marks an account without a password
	} {
		if disabled, enabled := user.DisabledHash(text), user.EnabledHash(text); disabled != text || enabled != text {
			t.Errorf("%q disabled is %q, and enabled %q", text, disabled, enabled)
		}
	}
}

// Every hash that a bcrypt library accepts is disabled.
func TestNoHashThatBcryptAcceptsStaysEnabled(t *testing.T) {
	right := []byte("right")
	made, err := bcrypt.GenerateFromPassword(right, bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	cost, rest := string(made[4:6]), string(made[7:])
	for _, version := range []string{"2a$", "2$", "2_$", "1a$", "2a_", "2 $", "2\n\n", "2é", " a$", "0!!", "\x01a$", "$$", "$a$", "+$"} {
		for _, separator := range []string{"$", "_", "\n"} {
			for _, trailing := range []string{"", "\n", "  ", "and more"} {
				hash := "$" + version + cost + separator + rest + trailing
				if bcrypt.CompareHashAndPassword([]byte(hash), right) != nil {
					t.Fatalf("bcrypt refuses %q", hash)
				}
				disabled := user.DisabledHash(hash)
				if bcrypt.CompareHashAndPassword([]byte(disabled), right) == nil {
					t.Errorf("%q disabled is %q, which lets the user in", hash, disabled)
				}
				if back := user.EnabledHash(disabled); back != hash && version[0] != '$' {
					t.Errorf("%q comes back as %q", hash, back)
				}
			}
		}
	}
	for _, text := range []string{"!" + string(made), "!" + strings.Repeat("locked until the audit ", 4)} {
		if enabled := user.EnabledHash(text); enabled != text {
			t.Errorf("%q of a DBA is enabled: %q", text, enabled)
		}
	}
}

// Disabling twice changes nothing, and enabling restores the text.
func TestDisablingLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[!$]{0,2}[2a-]{0,3}[!$]{0,2}[a-z]{0,3}`).Draw(t, "text")
		disabled := user.DisabledHash(text)
		if disabled != text && user.EnabledHash(disabled) != text {
			t.Errorf("%q disabled is %q, which does not come back", text, disabled)
		}
		if user.DisabledHash(disabled) != disabled || user.EnabledHash(user.EnabledHash(text)) != user.EnabledHash(text) {
			t.Errorf("%q is changed twice", text)
		}
	})
}

func TestPlanOfTheHashOfAnInactiveRow(t *testing.T) {
	shuts := func(options ...changeOption) user.Decision {
		return user.Decision{
			Change:   change(user.Update, append([]changeOption{toInactive, writing(user.FieldPasswordHash)}, options...)...),
			Disables: true,
		}
	}
	runPlan(t, map[string]planCase{
		"a disabled hash of an inactive row is left alone": {
			desired(inactive), synced(rowInactive), leave(),
		},
		"it is left alone if another program manages the password": {
			desired(inactive, withoutPassword), synced(nothingOfOurs, rowHash(disabledAlien), rowEnabled), leave(),
		},
		"an unusable password stays": {
			desired(inactive, withoutPassword), synced(nothingOfOurs, rowHash(user.UnusablePassword), rowEnabled), leave(),
		},
		"a missing hash stays missing": {
			desired(inactive, withoutPassword), synced(nothingOfOurs, rowHash(""), rowEnabled), leave(),
		},
		"a usable hash of an older version is disabled without drift": {
			desired(inactive), synced(rowEnabled), shuts(),
		},
		"a usable hash of another program is disabled without drift": {
			desired(inactive, withoutPassword), synced(nothingOfOurs, rowHash(alien), rowEnabled), shuts(),
		},
		"another program's hash instead of a managed one is drift": {
			desired(inactive), synced(rowHash(alien), rowEnabled),
			user.Decision{
				Change: change(user.Update, toInactive, puttingBack, writing(user.FieldPasswordHash)),
				Drift:  []user.Field{user.FieldPasswordHash},
			},
		},
		"another program's disabled hash is drift too": {
			desired(inactive), synced(rowHash(disabledAlien), rowEnabled),
			user.Decision{
				Change: change(user.Update, toInactive, puttingBack, writing(user.FieldPasswordHash)),
				Drift:  []user.Field{user.FieldPasswordHash},
			},
		},
		"an activated row whose hash is disabled needs no hash": {
			desired(inactive), synced(rowHash(disabledV1)),
			user.Decision{Change: change(user.Update, toInactive, writing(user.FieldActive)), Drift: []user.Field{user.FieldActive}},
		},
		"a row that another program rewrote is one correction": {
			desired(inactive), synced(rowHash(alien), rowRoles("x")),
			user.Decision{
				Change: change(user.Update, toInactive, puttingBack, writing(user.FieldRoles, user.FieldActive, user.FieldPasswordHash)),
				Drift:  []user.Field{user.FieldRoles, user.FieldActive, user.FieldPasswordHash},
			},
		},
	})
}

func TestPlanOfTheHashOfAnActivatedRow(t *testing.T) {
	runPlan(t, map[string]planCase{
		"the hash is enabled when the user becomes active": {
			desired(edited), synced(rowInactive),
			user.Decision{Change: change(user.Update, toEdited, writing(user.FieldActive, user.FieldPasswordHash))},
		},
		"another program's hash is enabled too": {
			desired(edited, withoutPassword), synced(nothingOfOurs, rowHash(disabledAlien), rowEnabled),
			user.Decision{Change: change(user.Update, toEdited, writing(user.FieldActive, user.FieldPasswordHash))},
		},
		"a usable hash stays when the user becomes active": {
			desired(edited), synced(rowEnabled),
			user.Decision{Change: change(user.Update, toEdited, writing(user.FieldActive))},
		},
		"a managed password disabled in an active row is drift": {
			desired(), synced(rowHash(disabledV1)),
			user.Decision{
				Change: change(user.Update, puttingBack, writing(user.FieldPasswordHash)),
				Drift:  []user.Field{user.FieldPasswordHash},
			},
		},
		"an unmanaged password disabled in an active row stays": {
			desired(withoutPassword), synced(nothingOfOurs, rowHash(disabledAlien)), leave(),
		},
		"a password that is no longer managed stays disabled": {
			desired(edited, inactive, withoutPassword), synced(rowInactive),
			user.Decision{Change: change(user.Update, toEdited, toInactive, unmanaging)},
		},
		"a password that is no longer managed is disabled": {
			desired(edited, inactive, withoutPassword), synced(),
			user.Decision{Change: change(user.Update, toEdited, toInactive, unmanaging, writing(user.FieldActive, user.FieldPasswordHash))},
		},
	})
}

func TestPlanOfTheHashOfAnAdoptedRow(t *testing.T) {
	runPlan(t, map[string]planCase{
		"an unowned row that is adopted is enabled": {
			desired(adopting, withoutPassword), synced(noRecord, rowInactive),
			user.Decision{Change: change(user.Adopt, onNothing, writing(user.FieldPasswordHash))},
		},
		"an unowned row that is adopted as inactive is disabled": {
			desired(adopting, inactive, withoutPassword), synced(noRecord),
			user.Decision{Change: change(user.Adopt, onNothing, toInactive, writing(user.FieldPasswordHash))},
		},
		"an unowned row adopted unchanged keeps its hash": {
			desired(adopting, inactive, withoutPassword), synced(noRecord, rowInactive),
			user.Decision{Change: change(user.Adopt, onNothing, toInactive)},
		},
		"an active row with a disabled hash is adopted unchanged": {
			desired(adopting, withoutPassword), synced(noRecord, rowHash(disabledV1)),
			user.Decision{Change: change(user.Adopt, onNothing)},
		},
		"a row that a former resource deactivated is enabled": {
			desired(withoutPassword), synced(ownedBy(predecessor), inState(user.Released), nothingOfOurs, rowInactive),
			user.Decision{Change: change(user.Adopt, writing(user.FieldPasswordHash)), Confirm: true},
		},
		"it is enabled, and the Secret's password is requested": {
			desired(), synced(ownedBy(predecessor), inState(user.Released), nothingOfOurs, rowInactive),
			user.Decision{Change: change(user.Adopt, writing(user.FieldPasswordHash)), Confirm: true, TakePassword: true},
		},
	})
}

func TestPlanOfTheHashOfARowThatOtherwiseStays(t *testing.T) {
	runPlan(t, map[string]planCase{
		"a deletion does not wait for the hash": {
			desired(inactive, deleting), synced(rowEnabled), user.Decision{Change: change(user.Delete, toInactive)},
		},
		"a paused resource leaves the hash unchanged": {
			desired(inactive, paused), synced(rowEnabled), leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
		"a usable hash of a suspended row is disabled without drift": {
			desired(refused), synced(suspended, rowHash(hashV1)),
			user.Decision{
				Change:  change(user.Update, suspending, writing(user.FieldPasswordHash)),
				Problem: notPermitted, Disables: true,
			},
		},
		"another program's hash of a suspended row is disabled": {
			desired(refused, withoutPassword), synced(nothingOfOurs, suspended, rowHash(alien)),
			user.Decision{
				Change:  change(user.Update, suspending, writing(user.FieldPasswordHash)),
				Problem: notPermitted, Disables: true,
			},
		},
	})
}

func TestWithPasswordOfAnInactiveRow(t *testing.T) {
	for name, tt := range map[string]struct {
		observed user.Observed
		password user.PasswordChange
		writes   bool
		hash     string
		clears   bool
	}{
		"a new password is written disabled": {
			synced(rowInactive), user.PasswordChange{Hash: hashV2, Version: "v2", New: true}, true, shutV2, true,
		},
		"the same password in a new version is only recorded": {
			synced(rowInactive), user.PasswordChange{Hash: hashV1, Version: "v2"}, false, disabledV1, false,
		},
		"the same password is disabled if it is usable": {
			synced(rowEnabled), user.PasswordChange{Hash: hashV1, Version: "v2"}, true, disabledV1, false,
		},
		"a hash with format Bcrypt is written disabled": {
			synced(rowInactive), user.PasswordChange{Hash: alien, Version: "v2", New: true}, true, disabledAlien, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			decision := plan(t, desired(inactive, withSecret("v2")), tt.observed)
			if !decision.TakePassword {
				t.Fatal("the plan does not ask for the password")
			}
			c := decision.WithPassword(tt.password, tt.observed)
			if len(c.Write) > 1 || (len(c.Write) == 1) != tt.writes {
				t.Errorf("it writes %v", c.Write)
			}
			if hash := c.HashAfter(*tt.observed.Row); hash != tt.hash {
				t.Errorf("the row gets %q, want %q", hash, tt.hash)
			}
			if c.Password.Hash != tt.password.Hash || c.ClearLockout != tt.clears {
				t.Errorf("the change is %+v", c)
			}
		})
	}
}

func TestHashAfterAChange(t *testing.T) {
	p := &user.PasswordChange{Hash: hashV2, Version: "v2"}
	active, shut, open := user.Row{PasswordHash: hashV1, Active: true}, user.Row{PasswordHash: disabledV1}, user.Row{PasswordHash: hashV1}
	for name, tt := range map[string]struct {
		change user.Change
		before user.Row
		want   string
	}{
		"a new active row has its password":                         {change(user.Create, puttingNew(hashV1, "v1")), user.Row{}, hashV1},
		"a new inactive row has it disabled":                        {change(user.Create, toInactive, puttingNew(hashV1, "v1")), user.Row{}, disabledV1},
		"a new row without a password has an unusable one":          {change(user.Create, toInactive), user.Row{}, user.UnusablePassword},
		"an adopted row keeps its own":                              {change(user.Adopt), active, hashV1},
		"an adopted row keeps a hash that another program disabled": {change(user.Adopt), user.Row{PasswordHash: disabledV1, Active: true}, disabledV1},
		"an adopted inactive row is enabled":                        {change(user.Adopt), shut, hashV1},
		"a row that is adopted as inactive is disabled":             {change(user.Adopt, toInactive), active, disabledV1},
		"an adopted row gets the Secret's password":                 {change(user.Adopt, func(c *user.Change) { c.Password = p }), shut, hashV2},
		"an inactive adoption gets the Secret's password disabled":  {change(user.Adopt, toInactive, func(c *user.Change) { c.Password = p }), shut, shutV2},
		"a deactivated row is disabled":                             {change(user.Deactivate), active, disabledV1},
		"a deactivated row that was inactive is disabled":           {change(user.Deactivate), open, disabledV1},
		"a suspended row is disabled":                               {change(user.Suspend), active, disabledV1},
		"a deactivated row keeps a hash that cannot be disabled":    {change(user.Deactivate, keepingHash), active, hashV1},
		"a new row keeps a hash that cannot be disabled": {
			change(user.Create, toInactive, puttingNew(hashV1, "v1"), keepingHash), user.Row{}, hashV1,
		},
		"an inactive row keeps a hash that cannot be disabled": {change(user.Update, toInactive, keepingHash), active, hashV1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.change.HashAfter(tt.before); got != tt.want {
				t.Errorf("it leaves %q, want %q", got, tt.want)
			}
			if tt.change.KeepHash && tt.change.DisablesHash() {
				t.Error("it disables a hash that it is to keep")
			}
		})
	}
}

func keepingHash(c *user.Change) { c.KeepHash = true }

func TestPasswordInForceIsEnabled(t *testing.T) {
	for name, tt := range map[string]struct {
		observed user.Observed
		want     string
	}{
		"an owned inactive row":                     {synced(rowInactive), hashV1},
		"an inactive row of another program":        {synced(noRecord, rowInactive), hashV1},
		"a deactivated row":                         {synced(inState(user.Released), nothingOfOurs, rowInactive), hashV1},
		"an active row with a disabled hash":        {synced(noRecord, rowHash(disabledV1)), disabledV1},
		"an inactive row with a usable hash":        {synced(noRecord, rowEnabled), hashV1},
		"an inactive row without a password":        {synced(noRecord, rowHash(""), rowEnabled), ""},
		"an inactive row with an unusable password": {synced(noRecord, rowHash("!"), rowEnabled), "!"},
		"an inactive row of another owner":          {synced(ownedBy(neighbour), rowInactive), hashV1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.observed.PasswordInForce(alice); got != tt.want {
				t.Errorf("it is %q, want %q", got, tt.want)
			}
		})
	}
}

func TestEventsOfAnInactiveRow(t *testing.T) {
	for name, tt := range map[string]struct {
		desired  user.Desired
		observed user.Observed
		want     string
	}{
		"an edit":                             {desired(edited, inactive), synced(), "Normal Updated: Updated active.\n"},
		"an activation":                       {desired(edited), synced(rowInactive), "Normal Updated: Updated active.\n"},
		"a row of an older version":           {desired(inactive), synced(rowEnabled), ""},
		"a suspended row of an older version": {desired(refused), synced(suspended, rowHash(hashV1)), ""},
		"a hash of another program":           {desired(inactive, withoutPassword), synced(nothingOfOurs, rowHash(alien), rowEnabled), ""},
		"a suspension": {
			desired(refused), synced(),
			"Normal Deactivated: Deactivated the row for username \"alice\": no policy permits the resource.\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			decision := plan(t, tt.desired, tt.observed)
			got := ""
			for _, event := range user.ChangeEvents(decision.Change, decision.Drift) {
				got += map[bool]string{true: "Warning ", false: "Normal "}[event.Warning] + event.Reason + ": " + event.Message + "\n"
			}
			if got != tt.want {
				t.Errorf("it says:\n%swant:\n%s", got, tt.want)
			}
		})
	}
}
