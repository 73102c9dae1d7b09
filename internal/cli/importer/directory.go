// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// A Change is one that import makes, or would make.
type Change struct {
	Action string   `json:"action"` // create or update
	Object string   `json:"object"` // a file's path, or kind and name
	Fields []string `json:"fields,omitempty"`
}

// The actions of changes.
const (
	Create = "create"
	Update = "update"
)

// A Target is where manifests go.
type Target interface {
	// Changes returns the changes that make the target say what the entries say, in their order. Nothing is changed.
	Changes(ctx context.Context, entries []Entry) ([]Change, []Remark, error)

	// Write makes these changes, and returns those that it made.
	Write(ctx context.Context, entries []Entry) ([]Change, []Remark, error)
}

// A Directory is a target of files. Additions of users to a file stay.
type Directory struct {
	Path    string
	Secrets SecretsMode
	Single  bool // all in one file, or one for users and one for Secrets
}

// SecretsMode says what becomes of the hashes.
type SecretsMode string

// The modes.
const (
	SecretsSkip     SecretsMode = "skip"     // they are not written
	SecretsInline   SecretsMode = "inline"   // each with its user
	SecretsSeparate SecretsMode = "separate" // in files of their own
)

// file is one as it is, and as it is to be.
type file struct {
	path      string
	content   []byte // nil where there is none
	documents documents
	untouched bool // it is as likely
	wanted    int  // manifests
	changed   bool
	fields    []string
}

const (
	forOwner    = 0o600
	forAll      = 0o644
	dirForOwner = 0o700
	dirForAll   = 0o755
)

func (f *file) mode() fs.FileMode {
	if f.documents.secret() {
		return forOwner
	}
	return forAll
}

// want puts an object into the file.
func (f *file) want(object client.Object) error {
	if f.untouched && f.documents.of[Called(object)] != nil {
		return nil
	}
	differs, fields, err := f.documents.merge(object)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	f.changed, f.fields = f.changed || differs, fields
	f.wanted++
	return nil
}

// drop takes what is of an object out of the file.
func (f *file) drop(object string) {
	f.changed = f.documents.drop(object) || f.changed
}

// change is what becomes of the file; nil where that is nothing.
func (f *file) change() *Change {
	switch {
	case !f.changed:
		return nil
	case f.content == nil:
		return &Change{Action: Create, Object: f.path}
	case f.wanted > 1:
		return &Change{Action: Update, Object: f.path}
	}
	return &Change{Action: Update, Object: f.path, Fields: f.fields}
}

// folder is the files of a directory that were looked at, in that order.
type folder struct {
	files []*file
	known map[string]*file
}

// file returns one of the folder's files. It first compares the file with its likely content, because parsing 10,000 unchanged
// files would take most of the time.
func (d *folder) file(path string, likely ...client.Object) (*file, error) {
	if f := d.known[path]; f != nil {
		return f, nil
	}
	content, err := os.ReadFile(path) //nolint:gosec // where whoever runs the program said
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f := &file{path: path, content: content}
	if f.documents, err = documentsOf(likely); err != nil {
		return nil, err
	}
	if f.untouched = bytes.Equal(content, f.documents.content()); !f.untouched {
		if f.documents, err = parse(content); err != nil {
			return nil, fmt.Errorf("cannot parse %s, which stays unchanged: %w", path, err)
		}
	}
	d.files, d.known[path] = append(d.files, f), f
	return f, nil
}

// plan is the files of the entries, with what is to be in them.
func (d Directory) plan(entries []Entry) ([]*file, []Remark, error) {
	found := folder{known: map[string]*file{}}
	var all []Remark
	for _, e := range entries {
		remarks, err := d.planEntry(&found, e)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, remarks...)
	}
	return found.files, all, nil
}

func (d Directory) planEntry(found *folder, e Entry) (remarks []Remark, err error) {
	name := e.user.Name
	users, err := found.file(d.file("users", name), d.likely(e)...)
	if err != nil {
		return nil, err
	}
	var have *v1alpha1.ShardingUser
	if there := users.documents.of[Called(e.user)]; there != nil && !users.untouched {
		if have, err = parseUser(there.text); err != nil {
			return nil, fmt.Errorf("%s: %w", users.path, err)
		}
	}
	e, r, ok := e.settle(have)
	if r != nil {
		remarks = append(remarks, *r)
	}
	if !ok {
		return remarks, nil
	}
	if d.Secrets != SecretsInline {
		users.drop(objectSecret + name + SecretSuffix) // of a run that wanted it there
	}
	if e.secret != nil && d.Secrets != SecretsSkip {
		secrets := users
		if d.Secrets == SecretsSeparate {
			if secrets, err = found.file(d.file("secrets", name), e.secret); err != nil {
				return nil, err
			}
		}
		if err := secrets.want(e.secret); err != nil {
			return nil, err
		}
		if secrets.documents.of[Called(e.secret)].sealed {
			remarks = append(remarks, Remark{user.Username(e.user), sealed, secrets.path + " is encrypted and stays unchanged; check whether the hash changed"})
		}
	}
	return remarks, users.want(e.user)
}

// likely is what is in the file of a user that was imported before; nothing where others are in it, too.
func (d Directory) likely(e Entry) (likely []client.Object) {
	if d.Single {
		return nil
	}
	if e.secret != nil && d.Secrets == SecretsInline {
		likely = append(likely, e.secret)
	}
	return append(likely, e.user)
}

// file is the path of the file of users or of secrets, or that of one of them.
func (d Directory) file(of, name string) string {
	if d.Single {
		return filepath.Join(d.Path, of+".yaml")
	}
	return filepath.Join(d.Path, of, name+".yaml")
}

// Changes implements Target.
func (d Directory) Changes(_ context.Context, entries []Entry) (changes []Change, remarks []Remark, err error) {
	files, remarks, err := d.plan(entries)
	for _, f := range files {
		if c := f.change(); c != nil {
			changes = append(changes, *c)
		}
	}
	return changes, remarks, err
}

// Write implements Target.
func (d Directory) Write(_ context.Context, entries []Entry) (changes []Change, remarks []Remark, err error) {
	files, remarks, err := d.plan(entries)
	if err != nil {
		return nil, remarks, err
	}
	for _, f := range files {
		c := f.change()
		switch {
		case c != nil:
			err = put(f)
		case f.documents.secret():
			err = os.Chmod(f.path, forOwner)
		}
		if err != nil {
			return changes, remarks, err
		}
		if c != nil {
			changes = append(changes, *c)
		}
	}
	return changes, remarks, nil
}

// put writes a file as a whole or not at all, and never with more readers than it is to have.
func put(f *file) error {
	folder, mode := filepath.Dir(f.path), fs.FileMode(dirForAll)
	if f.mode() == forOwner {
		mode = dirForOwner
	}
	if err := os.MkdirAll(folder, mode); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(folder, ".import-*")
	if err != nil {
		return err
	}
	_, err = temporary.Write(f.documents.content())
	err = errors.Join(err, temporary.Chmod(f.mode()), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), f.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", f.path, err), os.Remove(temporary.Name()))
	}
	return nil
}
