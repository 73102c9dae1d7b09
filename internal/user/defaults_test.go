// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// The hashes that the sharding manager inserts.
const (
	defaultAdmin    = "$2a$10$LtlhX7.r1Rf9Fl7XjR9VKeaZvwU7PJK6tlWF5rXdxe1fg55wurAnW"
	defaultOperator = "$2a$10$oDZulSnupJh0OdVrJImYNO/HrxjmUx8QA.ICMSA/Pdskkdwd68.bu"
	defaultViewer   = "$2a$10$QyJBIVEeUVYYYdRELwpeLe7E5y2vvDIWdIMlIoXOjQCYWj2ozssDG"
)

func TestDefaultHash(t *testing.T) {
	for name, tt := range map[string]struct {
		hash string
		want bool
	}{
		"the administrator's":                         {defaultAdmin, true},
		"the operator's":                              {defaultOperator, true},
		"the viewer's":                                {defaultViewer, true},
		"in another version of bcrypt":                {"$2y" + defaultAdmin[3:], true},
		"without a version":                           {"$2" + defaultAdmin[3:], true},
		"disabled":                                    {"!" + defaultAdmin[1:], true},
		"disabled in another version":                 {"!2b" + defaultViewer[3:], true},
		"of another cost":                             {strings.Replace(defaultAdmin, "$10$", "$12$", 1), false},
		"in no version of bcrypt":                     {"$3a" + defaultAdmin[3:], false},
		"in two versions":                             {"$2a" + defaultAdmin, false},
		"with a mark before it":                       {"!" + defaultAdmin, false},
		"followed by other text, which still matches": {defaultAdmin + "\n", true},
		"only the rest of the hash":                   {defaultAdmin[3:], false},
		"another hash":                                {hashV1, false},
		"an unusable hash":                            {user.UnusablePassword, false},
		"none":                                        {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := user.DefaultHash(tt.hash); got != tt.want {
				t.Errorf("DefaultHash(%q) = %v, want %v", tt.hash, got, tt.want)
			}
		})
	}
}

// Without this test, a typing error in the hashes would stay unnoticed.
func TestDefaultHashesMatchTheDefaultPasswords(t *testing.T) {
	hashes := user.DefaultHashes()
	for hash, plain := range map[string]string{defaultAdmin: "admin123", defaultOperator: "operator123", defaultViewer: "viewer123"} {
		if bcrypt.CompareHashAndPassword([]byte(hash), []byte(plain)) != nil {
			t.Errorf("the hash is not of %s", plain)
		}
		if !slices.Contains(hashes, hash) || !slices.Contains(hashes, "$2y"+hash[3:]) {
			t.Errorf("the hash of %s is not among DefaultHashes", plain)
		}
	}
	for _, hash := range hashes {
		if !user.DefaultHash(hash) {
			t.Errorf("DefaultHash(%q) = false", hash)
		}
	}
}

func TestUntouched(t *testing.T) {
	row := func(hash string, roles ...string) user.Row {
		return user.Row{PasswordHash: hash, Roles: roles, Active: true}
	}
	edited := func(r user.Row, edit func(*user.Row)) user.Row {
		edit(&r)
		return r
	}
	for name, tt := range map[string]struct {
		username string
		row      user.Row
		want     bool
	}{
		"admin":                               {"admin", row(defaultAdmin, "admin"), true},
		"operator":                            {"operator", row(defaultOperator, "operator"), true},
		"viewer":                              {"viewer", row(defaultViewer, "viewer"), true},
		"a user logged in":                    {"admin", edited(row(defaultAdmin, "admin"), func(r *user.Row) { r.LastLogin = ptrTo(now) }), true},
		"a user failed to log in":             {"admin", edited(row(defaultAdmin, "admin"), func(r *user.Row) { r.FailedLoginAttempts = 5; r.LockedUntil = ptrTo(now) }), true},
		"another username":                    {"root", row(defaultAdmin, "admin"), false},
		"the username in another case":        {"Admin", row(defaultAdmin, "admin"), false},
		"the default hash of another account": {"admin", row(defaultViewer, "admin"), false},
		"another password":                    {"admin", row(hashV1, "admin"), false},
		"another role":                        {"viewer", row(defaultViewer, "admin"), false},
		"an additional role":                  {"viewer", row(defaultViewer, "viewer", "admin"), false},
		"no role":                             {"viewer", row(defaultViewer), false},
		"roles that cannot be read":           {"admin", edited(row(defaultAdmin, "admin"), func(r *user.Row) { r.RolesMalformed = true }), false},
		"inactive":                            {"admin", edited(row(defaultAdmin, "admin"), func(r *user.Row) { r.Active = false }), false},
		"disabled but active":                 {"admin", row("!"+defaultAdmin[1:], "admin"), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := user.Untouched(tt.username, tt.row); got != tt.want {
				t.Errorf("Untouched(%q, ...) = %v, want %v", tt.username, got, tt.want)
			}
		})
	}
}
