// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// importInto runs an import of these rows into the directory, and returns what it changed and remarked on.
func importInto(t *testing.T, d Directory, accounts ...store.Account) ([]Change, []Remark) {
	t.Helper()
	entries, _ := toTeamA.Convert(accounts)
	wanted, _, err := d.Changes(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	made, remarks, err := d.Write(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, made); diff != "" {
		t.Errorf("what was made is not what was told (-told +made):\n%s", diff)
	}
	return made, remarks
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// replace edits a file as people do.
func replace(t *testing.T, path, what, with string) {
	t.Helper()
	before := read(t, path)
	if !strings.Contains(before, what) {
		t.Fatalf("%s has no %q:\n%s", path, what, before)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(before, what, with)), 0o600); err != nil {
		t.Fatal(err)
	}
}

var everyLayout = map[string]Directory{
	"apart": {Secrets: SecretsSeparate}, "with their users": {Secrets: SecretsInline}, "nowhere": {Secrets: SecretsSkip},
	"apart, in one file": {Secrets: SecretsSeparate, Single: true}, "with all, in one": {Secrets: SecretsInline, Single: true},
	"nowhere, in one file": {Secrets: SecretsSkip, Single: true},
}

// Rows that the operator adopted are left out of the next import. A GitOps tool that prunes would otherwise delete the
// resources with their documents.
func TestRowsThatAreLeftOutByNowKeepTheirDocuments(t *testing.T) {
	for name, d := range everyLayout {
		t.Run(name, func(t *testing.T) {
			d.Path = t.TempDir()
			importInto(t, d, account("alice"), account("bob"))
			users := d.file("users", "alice")
			before := read(t, users)
			made, _ := importInto(t, d, account("alice", ownedBy("team-a", "alice")), account("bob", ownedBy("team-a", "bob")))
			if len(made) != 0 || read(t, users) != before {
				t.Errorf("import changed %v:\n%s", made, read(t, users))
			}
			importInto(t, d, account("alice", ownedBy("team-a", "alice")), account("carol"))
			if !strings.HasPrefix(read(t, d.file("users", "alice")), before) || !strings.Contains(read(t, d.file("users", "carol")), "name: carol") {
				t.Errorf("alice and carol are:\n%s", read(t, users))
			}
		})
	}
}

func TestASecondRunChangesNothingInAnyLayout(t *testing.T) {
	rows := []store.Account{account("alice"), account("Bob@example.com"), account("carol", hashed(""))}
	for name, d := range everyLayout {
		t.Run(name, func(t *testing.T) {
			d.Path = t.TempDir()
			importInto(t, d, rows...)
			if made, remarks := importInto(t, d, rows...); len(made) != 0 || len(remarks) != 0 {
				t.Errorf("import changed %v, with %v", made, remarks)
			}
		})
	}
}

func TestWhatPeopleAddToAFileStays(t *testing.T) {
	for name, d := range everyLayout {
		t.Run(name, func(t *testing.T) {
			d.Path = t.TempDir()
			importInto(t, d, account("alice"), account("bob"))
			users := d.file("users", "alice")
			replace(t, users, "  name: alice\n", "  name: alice\n  labels: {team: a} # ours\n")
			replace(t, users, "    format: Bcrypt\n", "    format: Bcrypt\n    maxAge: 2160h\n")
			before := read(t, users)
			if made, _ := importInto(t, d, account("alice"), account("bob")); len(made) != 0 || read(t, users) != before {
				t.Errorf("import changed %v:\n%s", made, read(t, users))
			}
			if made, _ := importInto(t, d, account("alice", withRoles("admin")), account("bob")); len(made) != 1 {
				t.Errorf("import changed %v", made)
			}
			after := read(t, users)
			for _, want := range []string{"team: a\n", "maxAge: 2160h\n", "- admin\n"} {
				if !strings.Contains(after, want) {
					t.Errorf("there is no %q in\n%s", want, after)
				}
			}
		})
	}
}

func TestAPasswordThatTheOperatorMakesStaysTheOperators(t *testing.T) {
	for name, d := range everyLayout {
		t.Run(name, func(t *testing.T) {
			d.Path = t.TempDir()
			const bob = "---\napiVersion: sharding.io/v1alpha1\nkind: ShardingUser\nmetadata:\n  name: bob\n  namespace: team-a\nspec:\n" +
				"  password:\n    secretRef: {name: bob-login}\n    generate: {length: 32}\n    maxAge: 2160h\n"
			if err := os.MkdirAll(filepath.Dir(d.file("users", "bob")), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(d.file("users", "bob"), []byte(bob), 0o600); err != nil {
				t.Fatal(err)
			}
			_, remarks := importInto(t, d, account("bob"))
			if len(remarks) != 1 || remarks[0].Kind != generated {
				t.Errorf("the remarks are %v", remarks)
			}
			after := read(t, d.file("users", "bob"))
			for _, want := range []string{"adoptionPolicy: IfUnowned\n", "format: Plain\n", "length: 32\n", "maxAge: 2160h\n", "name: bob-login\n"} {
				if !strings.Contains(after, want) {
					t.Errorf("there is no %q in\n%s", want, after)
				}
			}
			for file := range modes(t, d.Path) {
				if text := read(t, d.Path, file); strings.Contains(text, "JDJ") {
					t.Errorf("%s has a hash:\n%s", file, text)
				}
			}
		})
	}
}

func TestAHashDoesNotStayWhereItIsNotWantedAnyMore(t *testing.T) {
	for _, single := range []bool{false, true} {
		d := Directory{Path: t.TempDir(), Secrets: SecretsInline, Single: single}
		importInto(t, d, account("alice"))
		d.Secrets = SecretsSeparate
		importInto(t, d, account("alice"))
		users := d.file("users", "alice")
		if text := read(t, users); strings.Contains(text, "kind: Secret\n") {
			t.Errorf("the file of the users has the hash:\n%s", text)
		}
		// While it has that of a row that was left out since, it is for its owner only.
		d.Secrets = SecretsInline
		importInto(t, d, account("alice"), account("bob"))
		d.Secrets = SecretsSeparate
		importInto(t, d, account("alice", withRoles("admin")))
		name, _ := filepath.Rel(d.Path, users)
		if text, mode := read(t, users), modes(t, d.Path)[name]; strings.Contains(text, "kind: Secret\n") != (mode == ours) {
			t.Errorf("%s is %s:\n%s", name, mode, text)
		}
	}
}

func TestAHashThatIsNoneAnyMoreDoesNotComeBack(t *testing.T) {
	d := Directory{Path: t.TempDir(), Secrets: SecretsSeparate}
	importInto(t, d, account("alice"))
	made, _ := importInto(t, d, account("alice", hashed("!")))
	if text := read(t, d.file("users", "alice")); len(made) != 1 || strings.Contains(text, "password") {
		t.Errorf("import changed %v:\n%s", made, text)
	}
}

func TestWhatWasEncryptedWhereItIsStays(t *testing.T) {
	for name, edit := range map[string]func(t *testing.T, path string){
		"by SOPS": func(t *testing.T, path string) {
			t.Helper()
			replace(t, path, "type: Opaque\n", "type: Opaque\nsops: {mac: x}\n")
		},
		"by Sealed Secrets": func(t *testing.T, path string) {
			t.Helper()
			replace(t, path, "kind: Secret\n", "kind: SealedSecret\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := Directory{Path: t.TempDir(), Secrets: SecretsSeparate}
			importInto(t, d, account("alice"))
			path := d.file("secrets", "alice")
			edit(t, path)
			before := read(t, path)
			made, remarks := importInto(t, d, account("alice", hashed("$2b$11$"+hashBody)))
			if len(made) != 0 || read(t, path) != before || len(remarks) != 1 || remarks[0].Kind != sealed {
				t.Errorf("import changed %v, with %v:\n%s", made, remarks, read(t, path))
			}
		})
	}
}

func TestFilesOfSomebodyElseAreNotTouched(t *testing.T) {
	d := Directory{Path: t.TempDir(), Secrets: SecretsSkip}
	importInto(t, d, account("alice"))
	users := d.file("users", "alice")
	replace(t, users, "spec:\n", "spec:\n  username: somebody-else\n")
	before := read(t, users)
	made, remarks := importInto(t, d, account("alice"))
	if len(made) != 0 || read(t, users) != before || len(remarks) != 1 || remarks[0].Kind != NotApplied {
		t.Errorf("import changed %v, with %v", made, remarks)
	}

	replace(t, users, "kind:", "\tkind:")
	entries, _ := toTeamA.Convert([]store.Account{account("alice")})
	if _, _, err := d.Write(t.Context(), entries); err == nil || !strings.Contains(err.Error(), users) {
		t.Errorf("a file that is no YAML: %v", err)
	}
}
