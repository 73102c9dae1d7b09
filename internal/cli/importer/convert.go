// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// The forms of a username and a role that the API server accepts.
var (
	usernameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,254}$`)
	roleRule     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,62}$`)
)

const maxRoles = 64

// RemarkKind says what a remark is about.
type RemarkKind string

// The kinds of remark.
const (
	LeftOut         RemarkKind = "LeftOut"         // the row cannot become a resource, or is not to
	Owned           RemarkKind = "Owned"           // left out, since a resource owns the row
	WithoutPassword RemarkKind = "WithoutPassword" // the hash is none that the operator takes: it stays in the row as it is
	defaultPassword RemarkKind = "DefaultPassword" // it has a default password of the sharding manager
	RolesDropped    RemarkKind = "RolesDropped"    // as was asked for
	generated       RemarkKind = "Generated"       // the hash does not come along: the operator makes the password
	sealed          RemarkKind = "Sealed"          // the file with the hash was encrypted where it is, and stays as it is
	NotApplied      RemarkKind = "NotApplied"      // it could not be, or the API server refused
)

// A Remark is what users have to know about a row. It holds no hash.
type Remark struct {
	Username string     `json:"username"`
	Kind     RemarkKind `json:"kind"`
	Message  string     `json:"message"`
}

func (r Remark) String() string { return fmt.Sprintf("%s %q: %s", r.Kind, r.Username, r.Message) }

// A Conversion says how rows become manifests.
type Conversion struct {
	Namespace    string // empty to leave it to kubectl apply
	System       string // spec.system, and a prefix of the names; empty for the default system
	Deletion     v1alpha1.DeletionPolicy
	IncludeOwned bool
	DropRoles    bool
}

// Convert makes manifests of rows, in their order, and remarks on what is not as one might expect. The same rows make the
// same manifests.
func (c Conversion) Convert(accounts []store.Account) (entries []Entry, remarks []Remark) {
	names := map[string]int{}
	for _, account := range accounts {
		names[c.name(account)]++
	}
	for _, account := range accounts {
		remarked := func(kind RemarkKind, format string, args ...any) {
			remarks = append(remarks, Remark{account.Username, kind, fmt.Sprintf(format, args...)})
		}
		name := c.name(account)
		switch {
		case account.Owner != nil && !c.IncludeOwned:
			remarked(Owned, "ShardingUser %s owns the row", account.Owner)
			continue
		case !usernameRule.MatchString(account.Username):
			remarked(LeftOut, "the username %s; a ShardingUser's username has 1 to 255 of A-Z a-z 0-9 . _ @ + - and starts with a letter or "+
				"digit. The row stays unchanged; rename the account in the table, or leave it to the program that created it", illegalPart(account.Username))
			continue
		case names[name] > 1: // by ten digits of a digest
			remarked(LeftOut, "another username has the same resource name, %s", name)
			continue
		case account.Row.RolesMalformed && !c.DropRoles:
			remarked(LeftOut, "its roles are not a list of names and would be lost")
			continue
		case account.Row.RolesMalformed:
			remarked(RolesDropped, "its roles are not a list of names; it is imported without roles")
		}
		roles, illegal := legalRoles(account.Row.Roles)
		switch {
		case len(illegal) > 0 && !c.DropRoles:
			remarked(LeftOut, "it has roles that no ShardingUser can have, and would lose them: %s", strings.Join(illegal, ", "))
			continue
		case len(illegal) > 0:
			remarked(RolesDropped, "it is imported without the roles %s", strings.Join(illegal, ", "))
		}
		if !account.Row.Active { // a disabled hash of an active row is another program's
			account.Row.PasswordHash = user.EnabledHash(account.Row.PasswordHash)
		}
		e := c.entry(account, name, roles)
		err := password.CheckHash(account.Row.PasswordHash)
		switch {
		case account.Row.PasswordHash == "":
			remarked(WithoutPassword, "the row has no password (an OAuth user has none); spec.password is omitted")
		case err != nil:
			remarked(WithoutPassword, "the password in the row stays unchanged and spec.password is omitted: %v", err)
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
func (c Conversion) name(account store.Account) string {
	if c.IncludeOwned && account.Owner != nil && account.Owner.Namespace == c.Namespace && isName(account.Owner.Name) {
		return account.Owner.Name
	}
	if c.System != "" {
		return resourceName(c.System + "-" + account.Username) // another system's users may be in the namespace
	}
	return resourceName(account.Username)
}

// legalRoles are those that a resource can have, each once, and the others in quotes.
func legalRoles(roles []string) (legal []v1alpha1.Role, illegal []string) {
	for _, role := range roles {
		switch {
		case slices.Contains(legal, v1alpha1.Role(role)):
		case !roleRule.MatchString(role), len(legal) == maxRoles:
			illegal = append(illegal, fmt.Sprintf("%q", role))
		default:
			legal = append(legal, v1alpha1.Role(role))
		}
	}
	return legal, illegal
}

func (c Conversion) entry(account store.Account, name string, roles []v1alpha1.Role) Entry {
	source := v1alpha1.PasswordSource{
		SecretRef: v1alpha1.SecretKeyReference{Name: name + SecretSuffix, Key: SecretKey},
		Format:    v1alpha1.PasswordFormatBcrypt,
	}
	e := Entry{
		user: &v1alpha1.ShardingUser{
			TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ShardingUser"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: c.Namespace},
			Spec: v1alpha1.ShardingUserSpec{
				System: c.System,
				Roles:  roles, Active: &account.Row.Active, Password: &source,
				AdoptionPolicy: v1alpha1.AdoptionIfUnowned, DeletionPolicy: c.Deletion,
			},
		},
		secret: &corev1.Secret{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: metav1.ObjectMeta{Name: source.SecretRef.Name, Namespace: c.Namespace},
			Type:       corev1.SecretTypeOpaque,
			Data:       map[string][]byte{SecretKey: []byte(account.Row.PasswordHash)},
		},
	}
	if account.Username != name {
		e.user.Spec.Username = account.Username
	}
	return e
}
