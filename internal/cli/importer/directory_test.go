// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// modes are the files below a path, with what who may do with them.
func modes(t *testing.T, path string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(path, func(file string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		name, _ := filepath.Rel(path, file)
		found[name] = info.Mode().String()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

const (
	ours = "-rw-------"
	all  = "-rw-r--r--"
)

func TestHashesAreInFilesForTheirOwnerOnly(t *testing.T) {
	entries, _ := toTeamA.Convert([]store.Account{account("alice"), account("bob", hashed("!"))})
	for name, tt := range map[string]struct {
		secrets SecretsMode
		single  bool
		want    map[string]string
	}{
		"apart":                {SecretsSeparate, false, map[string]string{"users/alice.yaml": all, "users/bob.yaml": all, "secrets/alice.yaml": ours}},
		"with their users":     {SecretsInline, false, map[string]string{"users/alice.yaml": ours, "users/bob.yaml": all}},
		"nowhere":              {SecretsSkip, false, map[string]string{"users/alice.yaml": all, "users/bob.yaml": all}},
		"apart, in one file":   {SecretsSeparate, true, map[string]string{"users.yaml": all, "secrets.yaml": ours}},
		"with all, in one":     {SecretsInline, true, map[string]string{"users.yaml": ours}},
		"nowhere, in one file": {SecretsSkip, true, map[string]string{"users.yaml": all}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "accounts")
			d := Directory{path, tt.secrets, tt.single}
			wanted, _, err := d.Changes(t.Context(), entries)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path); !os.IsNotExist(err) {
				t.Errorf("to look at changes wrote something: %v", err)
			}
			made, _, err := d.Write(t.Context(), entries)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(wanted, made); diff != "" {
				t.Errorf("what was made is not what was told (-told +made):\n%s", diff)
			}
			if diff := cmp.Diff(tt.want, modes(t, path)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestASecondRunTouchesNoFile(t *testing.T) {
	d := Directory{t.TempDir(), SecretsSeparate, false}
	entries, _ := toTeamA.Convert([]store.Account{account("alice"), account("bob")})
	if _, _, err := d.Write(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(d.Path, "users", "alice.yaml")
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	// As after unpacking an archive.
	if err := os.Chmod(filepath.Join(d.Path, "secrets", "bob.yaml"), 0o644); err != nil {
		t.Fatal(err)
	}
	made, _, err := d.Write(t.Context(), entries)
	if err != nil || len(made) != 0 {
		t.Errorf("write = %v, %v", made, err)
	}
	after, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Error("the file was written again")
	}
	if got := modes(t, d.Path)["secrets/bob.yaml"]; got != ours {
		t.Errorf("the hash of bob is for %s", got)
	}
}

func TestWhatChangedInTheTableChangesInItsFile(t *testing.T) {
	d := Directory{t.TempDir(), SecretsSeparate, false}
	entries, _ := toTeamA.Convert([]store.Account{account("alice"), account("bob")})
	if _, _, err := d.Write(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	entries, _ = toTeamA.Convert([]store.Account{
		account("alice", withRoles("admin")), account("bob", hashed("$2b$11$"+hashBody)), account("carol", hashed("")),
	})
	want := []Change{
		{Update, filepath.Join(d.Path, "users", "alice.yaml"), []string{"roles"}},
		{Update, filepath.Join(d.Path, "secrets", "bob.yaml"), nil},
		{Create, filepath.Join(d.Path, "users", "carol.yaml"), nil},
	}
	made, _, err := d.Write(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, made); diff != "" {
		t.Errorf("write (-want +got):\n%s", diff)
	}
	if made, _, err = d.Changes(t.Context(), entries); err != nil || len(made) != 0 {
		t.Errorf("and after that: %v, %v", made, err)
	}
}

func TestAnUnwritableFolderIsAnErrorBeforeAnythingIsWritten(t *testing.T) {
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, "secrets"), nil, 0o600); err != nil { // where a folder is to be
		t.Fatal(err)
	}
	entries, _ := toTeamA.Convert([]store.Account{account("alice")})
	_, _, err := Directory{path, SecretsSeparate, false}.Write(t.Context(), entries)
	if err == nil {
		t.Error("there is no error")
	}
	var names []string
	for name := range modes(t, path) {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{"secrets"}; !slices.Equal(names, want) {
		t.Errorf("files are %v, want %v", names, want)
	}
}
