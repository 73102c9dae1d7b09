// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

const hashBody = "abcdefghijklmnopqrstuu" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ01234"

// hash is one that the operator takes, as are those that begin in the other two ways and of higher cost.
const hash = "$2a$10$" + hashBody

func account(username string, edits ...func(*store.Account)) store.Account {
	a := store.Account{Username: username, Row: user.Row{PasswordHash: hash, Roles: []string{"viewer"}, Active: true}}
	for _, change := range edits {
		change(&a)
	}
	return a
}

func hashed(h string) func(*store.Account) { return func(a *store.Account) { a.Row.PasswordHash = h } }

func inactiveRow(a *store.Account) { a.Row.Active = false }

func withRoles(roles ...string) func(*store.Account) {
	return func(a *store.Account) { a.Row.Roles = roles }
}

func ownedBy(namespace, name string) func(*store.Account) {
	return func(a *store.Account) { a.Owner = &user.Owner{Namespace: namespace, Name: name} }
}

var toTeamA = Conversion{Namespace: "team-a", Deletion: v1alpha1.DeletionRetain}

const manifestsOfAlice = `---
apiVersion: v1
data:
  password: JDJhJDEwJGFiY2RlZmdoaWprbG1ub3BxcnN0dXVBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWjAxMjM0
kind: Secret
metadata:
  name: alice-example-com-xcdbc73c237-password
  namespace: team-a
type: Opaque
---
apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata:
  name: alice-example-com-xcdbc73c237
  namespace: team-a
spec:
  active: false
  adoptionPolicy: IfUnowned
  deletionPolicy: Retain
  password:
    format: Bcrypt
    secretRef:
      key: password
      name: alice-example-com-xcdbc73c237-password
  roles:
  - operator
  - viewer
  username: Alice@example.com
`

func TestManifestsSayAllOfARow(t *testing.T) {
	a := account("Alice@example.com", withRoles("operator", "viewer", "operator"), func(a *store.Account) { a.Row.Active = false })
	entries, remarks := toTeamA.Convert([]store.Account{a})
	if len(entries) != 1 || len(remarks) != 0 {
		t.Fatalf("convert = %v, %v", entries, remarks)
	}
	manifests, err := entries[0].Manifests(true)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, m := range manifests {
		text, err := yaml.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString(mark + "\n" + string(text))
	}
	if diff := gocmp.Diff(manifestsOfAlice, got.String()); diff != "" {
		t.Errorf("the manifests (-want +got):\n%s", diff)
	}
}

func TestAUsernameThatIsItsResourcesNameIsNotSaidTwice(t *testing.T) {
	entries, _ := toTeamA.Convert([]store.Account{account("alice")})
	if got := entries[0].user; got.Name != "alice" || got.Spec.Username != "" {
		t.Errorf("it is called %q, for the username %q", got.Name, got.Spec.Username)
	}
}

func TestRowsThatAreNotAsOneMightExpectAreRemarkedOn(t *testing.T) {
	manyRoles := make([]string, maxRoles+1)
	for i := range manyRoles {
		manyRoles[i] = fmt.Sprintf("role-%d", i)
	}
	with := func(change func(*Conversion)) Conversion { c := toTeamA; change(&c); return c }
	for name, tt := range map[string]struct {
		c        Conversion
		account  store.Account
		remark   RemarkKind // "" for none
		imported bool
		password bool
	}{
		"nothing is said of one like any other":    {toTeamA, account("alice"), "", true, true},
		"nor of hashes of other programs":          {toTeamA, account("alice", hashed("$2y$14$"+hashBody)), "", true, true},
		"nor of users of a named system":           {with(func(c *Conversion) { c.System = "orders" }), account("alice"), "", true, true},
		"a row of a resource is left to it":        {toTeamA, account("alice", ownedBy("b", "c")), Owned, false, false},
		"unless that was asked for":                {with(func(c *Conversion) { c.IncludeOwned = true }), account("alice", ownedBy("b", "c")), "", true, true},
		"a username with a space":                  {toTeamA, account("a b"), LeftOut, false, false},
		"a username in another script":             {toTeamA, account("мария"), LeftOut, false, false},
		"a username that begins otherwise":         {toTeamA, account("_alice"), LeftOut, false, false},
		"no username":                              {toTeamA, account(""), LeftOut, false, false},
		"a username that ends with a line":         {toTeamA, account("alice\n"), LeftOut, false, false},
		"a username that is too long":              {toTeamA, account(strings.Repeat("a", 256)), LeftOut, false, false},
		"the longest username":                     {toTeamA, account(strings.Repeat("a", 255)), "", true, true},
		"roles that are no list":                   {toTeamA, account("alice", func(a *store.Account) { a.Row.RolesMalformed = true }), LeftOut, false, false},
		"a role that no resource can have":         {toTeamA, account("alice", withRoles("viewer", "not one")), LeftOut, false, false},
		"too many roles":                           {toTeamA, account("alice", withRoles(manyRoles...)), LeftOut, false, false},
		"roles that are no list can be dropped":    {with(func(c *Conversion) { c.DropRoles = true }), account("alice", func(a *store.Account) { a.Row.RolesMalformed = true }), RolesDropped, true, true},
		"such roles can be dropped":                {with(func(c *Conversion) { c.DropRoles = true }), account("alice", withRoles("viewer", "not one")), RolesDropped, true, true},
		"no roles are fine":                        {toTeamA, account("alice", withRoles()), "", true, true},
		"no hash at all, or NULL":                  {toTeamA, account("alice", hashed("")), WithoutPassword, true, false},
		"the disabled hash of an inactive row":     {toTeamA, account("alice", hashed("!"+hash[1:]), inactiveRow), "", true, true},
		"such a hash of an active row":             {toTeamA, account("alice", hashed("!"+hash[1:])), WithoutPassword, true, false},
		"a hash that nothing matches":              {toTeamA, account("alice", hashed("!")), WithoutPassword, true, false},
		"a hash of the faulty implementation":      {toTeamA, account("alice", hashed("$2x$10$"+hashBody)), WithoutPassword, true, false},
		"a default hash of the sharding manager":   {toTeamA, account("admin", hashed(user.DefaultHashes()[1])), defaultPassword, true, true},
		"a cost that is too low":                   {toTeamA, account("alice", hashed("$2a$09$"+hashBody)), WithoutPassword, true, false},
		"a cost that is too high":                  {toTeamA, account("alice", hashed("$2a$15$"+hashBody)), WithoutPassword, true, false},
		"another kind of hash":                     {toTeamA, account("alice", hashed("{SHA}"+hashBody)), WithoutPassword, true, false},
		"a hash with something before or after it": {toTeamA, account("alice", hashed(hash+" ")), WithoutPassword, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			entries, remarks := tt.c.Convert([]store.Account{tt.account})
			if tt.imported != (len(entries) == 1) {
				t.Fatalf("convert = %v, %v", entries, remarks)
			}
			switch {
			case tt.remark == "" && len(remarks) != 0, tt.remark != "" && (len(remarks) != 1 || remarks[0].Kind != tt.remark):
				t.Errorf("the remarks are %v, want one of the kind %q", remarks, tt.remark)
			}
			for _, r := range remarks {
				if strings.Contains(r.String(), hashBody) {
					t.Errorf("a remark tells the hash: %s", r)
				}
			}
			if tt.imported && tt.password != (entries[0].secret != nil && entries[0].user.Spec.Password != nil) {
				t.Errorf("it has the password %v", entries[0].user.Spec.Password)
			}
		})
	}
}

func TestADisabledHashIsImportedAsItWasBefore(t *testing.T) {
	entries, _ := toTeamA.Convert([]store.Account{account("alice", hashed("!"+hash[1:]), inactiveRow)})
	if got := string(entries[0].secret.Data[SecretKey]); got != hash {
		t.Errorf("the Secret has %q", got)
	}
	if *entries[0].user.Spec.Active {
		t.Error("the user is active")
	}
}

func TestARemarkNamesWhatTheUsernameMustNotHold(t *testing.T) {
	for username, want := range map[string]string{
		"":                       "the username is empty;",
		strings.Repeat("a", 256): "the username is longer than 255 characters;",
		strings.Repeat("ä", 255): `the username contains 'ä' (U+00E4);`,
		"zoë_müller":             `the username contains 'ë' (U+00EB);`,
		"Bob Smith":              `the username contains ' ' (U+0020);`,
		"a\u200b":                `the username contains '\u200b' (U+200B);`,
		"alice\n":                `the username contains '\n' (U+000A);`,
		"_alice":                 `the username starts with '_';`,
		"é":                      `the username contains 'é' (U+00E9);`,
		"\xff":                   "the username is not UTF-8;",
	} {
		_, remarks := toTeamA.Convert([]store.Account{account(username)})
		if len(remarks) != 1 || remarks[0].Kind != LeftOut || !strings.HasPrefix(remarks[0].Message, want) {
			t.Errorf("of %q it says %v, want %s", username, remarks, want)
		}
	}
}

// Each username that the API server takes becomes a resource, whatever it looks like.
func TestEveryLegalUsernameBecomesAResource(t *testing.T) {
	usernames := []string{
		"ADMIN", "admin", "Admin", "bob@example.com", "Bob@Example.com", "a", "0", "A.", "a.", "a-", "a_b", "a+b", "a..b", "a--b", "A@@@",
		"alice-x0123456789", strings.Repeat("a", 253), strings.Repeat("a", 255), strings.Repeat("A", 255), "x" + strings.Repeat("@", 254),
	}
	var accounts []store.Account
	for _, username := range usernames {
		accounts = append(accounts, account(username))
	}
	entries, remarks := toTeamA.Convert(accounts)
	if len(entries) != len(usernames) || len(remarks) != 0 {
		t.Fatalf("%d of %d became resources: %v", len(entries), len(usernames), remarks)
	}
	names := map[string]string{}
	for i, e := range entries {
		name := e.user.Name
		if !isName(name) || names[name] != "" {
			t.Errorf("%q gets the name %q, which is none or that of %q", usernames[i], name, names[name])
		}
		names[name] = usernames[i]
		if got := cmp.Or(e.user.Spec.Username, name); got != usernames[i] {
			t.Errorf("%q becomes the user %q", usernames[i], got)
		}
	}
}

func TestImportSaysWhatAHashLooksLike(t *testing.T) {
	for says, hash := range map[string]string{
		"spaces or line endings": "$2a$10$" + hashBody + "\n", "quotation marks": "'$2a$10$" + hashBody + "'",
		"Argon2": "$argon2id$v=19$m=65536,t=3,p=4$c4n4ryc4n4ry", "LDAP": "{SSHA}c4n4ryc4n4ryc4n4ry",
	} {
		_, remarks := Conversion{}.Convert([]store.Account{account("alice", hashed(hash))})
		if len(remarks) != 1 || remarks[0].Kind != WithoutPassword || !strings.Contains(remarks[0].Message, says) {
			t.Errorf("the remarks are %v, want one that says %q", remarks, says)
			continue
		}
		if strings.Contains(remarks[0].Message, hashBody[:8]) || strings.Contains(remarks[0].Message, "c4n4ry") {
			t.Errorf("a part of the hash is told: %v", remarks)
		}
	}
}

func TestAnOwnedRowStaysWithItsResourceWhereItsOwnIsAskedFor(t *testing.T) {
	c := toTeamA
	c.IncludeOwned = true
	entries, _ := c.Convert([]store.Account{account("alice", ownedBy("team-a", "somebody")), account("bob", ownedBy("team-b", "somebody"))})
	if len(entries) != 2 || entries[0].user.Name != "somebody" || entries[0].user.Spec.Username != "alice" ||
		entries[1].user.Name != "bob" {
		t.Errorf("convert = %+v", entries)
	}
}

// A user who may write the ownership table cannot choose where files are written.
func TestAnOwnerThatIsNoResourcesNameNamesNoFile(t *testing.T) {
	c := toTeamA
	c.IncludeOwned = true
	entries, _ := c.Convert([]store.Account{account("alice", ownedBy("team-a", "../../alice"))})
	if len(entries) != 1 || entries[0].user.Name != "alice" {
		t.Errorf("convert = %+v", entries)
	}
}

// Ten digits of a digest would have to agree: here a resource is called so on purpose.
func TestNoTwoRowsBecomeOneResource(t *testing.T) {
	c := toTeamA
	c.IncludeOwned = true
	entries, remarks := c.Convert([]store.Account{account("alice", ownedBy("team-a", "bob")), account("bob"), account("carol")})
	if len(entries) != 1 || entries[0].user.Name != "carol" || len(remarks) != 2 || remarks[0].Kind != LeftOut {
		t.Errorf("convert = %v, %v", entries, remarks)
	}
}

func TestDifferencesAreThoseThatMatter(t *testing.T) {
	entries, _ := toTeamA.Convert([]store.Account{account("alice", withRoles("a", "b"))})
	want := entries[0].user
	same := func() *v1alpha1.ShardingUser {
		return &v1alpha1.ShardingUser{
			ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "alice"},
			Spec: v1alpha1.ShardingUserSpec{
				Roles: []v1alpha1.Role{"b", "a"}, AdoptionPolicy: v1alpha1.AdoptionIfUnowned, DeletionPolicy: v1alpha1.DeletionRetain,
				Password: &v1alpha1.PasswordSource{
					SecretRef: v1alpha1.SecretKeyReference{Name: "alice-password", Key: "password"}, Format: v1alpha1.PasswordFormatBcrypt,
				},
			},
		}
	}
	for name, tt := range map[string]struct {
		change func(*v1alpha1.ShardingUser)
		want   []string
	}{
		"not the order of roles, or what is left to a default": {func(*v1alpha1.ShardingUser) {}, nil},
		"not a username that is said though it is the name":    {func(u *v1alpha1.ShardingUser) { u.Spec.Username = "alice" }, nil},
		"the username":     {func(u *v1alpha1.ShardingUser) { u.Spec.Username = "bob" }, []string{"username"}},
		"a role":           {func(u *v1alpha1.ShardingUser) { u.Spec.Roles = u.Spec.Roles[1:] }, []string{"roles"}},
		"whether it is on": {func(u *v1alpha1.ShardingUser) { u.Spec.Active = new(bool) }, []string{"active"}},
		"the policies": {func(u *v1alpha1.ShardingUser) {
			u.Spec.AdoptionPolicy, u.Spec.DeletionPolicy = v1alpha1.AdoptionNever, v1alpha1.DeletionDelete
		}, []string{"adoptionPolicy", "deletionPolicy"}},
		"not for how long a password may be used": {func(u *v1alpha1.ShardingUser) { u.Spec.Password.MaxAge = new(metav1.Duration{Duration: time.Hour}) }, nil},
		"where the password comes from":           {func(u *v1alpha1.ShardingUser) { u.Spec.Password.SecretRef.Key = "other" }, []string{"password"}},
		"that none comes from anywhere":           {func(u *v1alpha1.ShardingUser) { u.Spec.Password = nil }, []string{"password"}},
	} {
		t.Run(name, func(t *testing.T) {
			have := same()
			tt.change(have)
			if got := differences(want, have); !slices.Equal(got, tt.want) {
				t.Errorf("differences = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestUsersOfANamedSystemHaveItsNameAsAPrefix(t *testing.T) {
	c := Conversion{Namespace: "team-a", System: "orders"}
	entries, _ := c.Convert([]store.Account{account("alice"), account("Bob@example.com")})
	if len(entries) != 2 {
		t.Fatalf("there are %d entries", len(entries))
	}
	for i, want := range []struct{ name, username string }{{"orders-alice", "alice"}, {"orders-bob-example-com-x", "Bob@example.com"}} {
		u := entries[i].user
		if !strings.HasPrefix(u.Name, want.name) || u.Spec.Username != want.username || u.Spec.System != "orders" {
			t.Errorf("the user is %s with the spec %+v, want %+v", u.Name, u.Spec, want)
		}
	}
	there := entries[0].user.DeepCopy()
	there.Spec.System = ""
	if _, remark, ok := entries[0].settle(there); ok || remark == nil || remark.Kind != NotApplied {
		t.Errorf("a user of another system is settled with %v, %v", remark, ok)
	}
}
