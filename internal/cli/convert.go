// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// What the API server lets a username and a role be.
var (
	usernameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,254}$`)
	roleRule     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,62}$`)
)

const maxRoles = 64

// remarkKind says what a remark is about.
type remarkKind string

const (
	leftOut         remarkKind = "LeftOut"         // the row cannot become a resource, or is not to
	owned           remarkKind = "Owned"           // left out, since a resource owns the row
	withoutPassword remarkKind = "WithoutPassword" // the hash is none that the operator takes: it stays in the row as it is
	defaultPassword remarkKind = "DefaultPassword" // it has a default password of the sharding manager
	rolesDropped    remarkKind = "RolesDropped"    // as was asked for
	generated       remarkKind = "Generated"       // the hash does not come along: the operator makes the password
	sealed          remarkKind = "Sealed"          // the file with the hash was encrypted where it is, and stays as it is
	notApplied      remarkKind = "NotApplied"      // it could not be, or the API server refused
)

// A remark is what somebody has to know about a row. It holds no hash.
type remark struct {
	Username string     `json:"username"`
	Kind     remarkKind `json:"kind"`
	Message  string     `json:"message"`
}

func (r remark) String() string { return fmt.Sprintf("%s %q: %s", r.Kind, r.Username, r.Message) }

// conversion says how rows become manifests.
type conversion struct {
	namespace    string // empty to leave it to whoever applies them
	deletion     v1alpha1.DeletionPolicy
	includeOwned bool
	dropRoles    bool
}

// convert makes manifests of rows, in their order, and remarks on what is not as one might expect. The same rows make the
// same manifests.
func (c conversion) convert(accounts []store.Account) (entries []entry, remarks []remark) {
	names := map[string]int{}
	for _, account := range accounts {
		names[c.name(account)]++
	}
	for _, account := range accounts {
		remarked := func(kind remarkKind, format string, args ...any) {
			remarks = append(remarks, remark{account.Username, kind, fmt.Sprintf(format, args...)})
		}
		name := c.name(account)
		switch {
		case account.Owner != nil && !c.includeOwned:
			remarked(owned, "ShardingUser %s owns the row", account.Owner)
			continue
		case !usernameRule.MatchString(account.Username):
			remarked(leftOut, "the username %s; a ShardingUser's username has 1 to 255 of A-Z a-z 0-9 . _ @ + - and starts with a letter or "+
				"digit. The row stays unchanged; rename the account in the table, or leave it to the program that created it", illegalPart(account.Username))
			continue
		case names[name] > 1: // by ten digits of a digest
			remarked(leftOut, "another username has the same resource name, %s", name)
			continue
		case account.Row.RolesMalformed && !c.dropRoles:
			remarked(leftOut, "its roles are not a list of names and would be lost")
			continue
		case account.Row.RolesMalformed:
			remarked(rolesDropped, "its roles are not a list of names; it is imported without roles")
		}
		roles, illegal := legalRoles(account.Row.Roles)
		switch {
		case len(illegal) > 0 && !c.dropRoles:
			remarked(leftOut, "it has roles that no ShardingUser can have, and would lose them: %s", strings.Join(illegal, ", "))
			continue
		case len(illegal) > 0:
			remarked(rolesDropped, "it is imported without the roles %s", strings.Join(illegal, ", "))
		}
		if !account.Row.Active { // a disabled hash of an active row is another program's
			account.Row.PasswordHash = user.EnabledHash(account.Row.PasswordHash)
		}
		e := c.entry(account, name, roles)
		err := password.CheckHash(account.Row.PasswordHash)
		switch {
		case account.Row.PasswordHash == "":
			remarked(withoutPassword, "the row has no password (an OAuth user has none); spec.password is omitted")
		case err != nil:
			remarked(withoutPassword, "the password in the row stays unchanged and spec.password is omitted: %v", err)
		}
		if err != nil {
			e.secret, e.user.Spec.Password = nil, nil
		}
		if user.DefaultHash(account.Row.PasswordHash) {
			remarked(defaultPassword, "its password is a well-known default of the sharding manager; change it")
		}
		entries = append(entries, e)
	}
	return entries, remarks
}

// illegalPart says what of a username the API server refuses.
func illegalPart(username string) string {
	switch {
	case username == "":
		return "is empty"
	case utf8.RuneCountInString(username) > store.MaxUsername:
		return fmt.Sprintf("is longer than %d characters", store.MaxUsername)
	case !utf8.ValidString(username):
		return "is not UTF-8"
	}
	for i, r := range username {
		if !usernameRule.MatchString("a" + string(r)) {
			return fmt.Sprintf("contains %q (%U)", r, r)
		}
		if i == 0 && !usernameRule.MatchString(string(r)) {
			return fmt.Sprintf("starts with %q", r)
		}
	}
	return "is invalid for the API server"
}

// name is that of the row's resource. A row that one of the namespace owns already stays with it; what is no resource's name
// was not written by the operator, and is to be none of a file either.
func (c conversion) name(account store.Account) string {
	if c.includeOwned && account.Owner != nil && account.Owner.Namespace == c.namespace && isName(account.Owner.Name) {
		return account.Owner.Name
	}
	return resourceName(account.Username)
}

// legalRoles are those that a resource can have, each once, and the others in quotes.
func legalRoles(roles []string) (legal, illegal []string) {
	legal = []string{}
	for _, role := range roles {
		switch {
		case slices.Contains(legal, role):
		case !roleRule.MatchString(role), len(legal) == maxRoles:
			illegal = append(illegal, fmt.Sprintf("%q", role))
		default:
			legal = append(legal, role)
		}
	}
	return legal, illegal
}

func (c conversion) entry(account store.Account, name string, roles []string) entry {
	e := entry{
		user: userManifest{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "ShardingUser", Metadata: meta1{name, c.namespace},
			Spec: userSpec{
				Roles: roles, Active: account.Row.Active,
				AdoptionPolicy: v1alpha1.AdoptionIfUnowned, DeletionPolicy: c.deletion,
				Password: &passwordSpec{
					SecretRef: v1alpha1.SecretKeyReference{Name: name + secretSuffix, Key: secretKey},
					Format:    v1alpha1.PasswordFormatBcrypt,
				},
			},
		},
		secret: &secretManifest{
			APIVersion: "v1", Kind: "Secret", Metadata: meta1{name + secretSuffix, c.namespace}, Type: "Opaque",
			Data: map[string][]byte{secretKey: []byte(account.Row.PasswordHash)},
		},
	}
	if account.Username != name {
		e.user.Spec.Username = account.Username
	}
	return e
}
