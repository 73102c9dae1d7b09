// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// A change is one that import makes, or would make.
type change struct {
	Action string   `json:"action"` // create or update
	Object string   `json:"object"` // a file's path, or kind and name
	Fields []string `json:"fields,omitempty"`
}

const (
	create = "create"
	update = "update"
)

// A target is where manifests go.
type target interface {
	// changes are those that make the target say what the entries say, in their order. Nothing is changed.
	changes(ctx context.Context, entries []entry) ([]change, []remark, error)

	// write makes them, and tells which it made.
	write(ctx context.Context, entries []entry) ([]change, []remark, error)
}

// directory is a target of files.
type directory struct {
	path    string
	secrets secretsMode
	single  bool // all in one file, or one for users and one for Secrets
}

// file is one as it has to be.
type file struct {
	path    string
	content []byte
	secret  bool          // holds hashes
	user    *userManifest // where it is of one user alone
}

const (
	forOwner    = 0o600
	forAll      = 0o644
	dirForOwner = 0o700
	dirForAll   = 0o755
)

func (d directory) mode(f file) fs.FileMode {
	if f.secret {
		return forOwner
	}
	return forAll
}

// files are all that the entries make.
func (d directory) files(entries []entry) (files []file, err error) {
	var users, secrets []any
	for i, e := range entries {
		if d.single {
			if d.secrets == secretsSeparate && e.secret != nil {
				secrets = append(secrets, e.secret)
			}
			users = append(users, e.manifests(d.secrets == secretsInline)...)
			continue
		}
		name := e.user.Metadata.Name + ".yaml"
		inline := d.secrets == secretsInline && e.secret != nil
		content, err := documents(e.manifests(inline)...)
		if err != nil {
			return nil, err
		}
		files = append(files, file{filepath.Join(d.path, "users", name), content, inline, &entries[i].user})
		if d.secrets == secretsSeparate && e.secret != nil {
			if content, err = documents(e.secret); err != nil {
				return nil, err
			}
			files = append(files, file{filepath.Join(d.path, "secrets", name), content, true, nil})
		}
	}
	if !d.single {
		return files, nil
	}
	content, err := documents(users...)
	if err != nil {
		return nil, err
	}
	files = append(files, file{filepath.Join(d.path, "users.yaml"), content, d.secrets == secretsInline, nil})
	if d.secrets == secretsSeparate {
		if content, err = documents(secrets...); err != nil {
			return nil, err
		}
		files = append(files, file{filepath.Join(d.path, "secrets.yaml"), content, true, nil})
	}
	return files, nil
}

// compare is the change of a file; nil where it is as it has to be.
func (d directory) compare(f file) (*change, error) {
	have, err := os.ReadFile(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &change{Action: create, Object: f.path}, nil
	case err != nil:
		return nil, err
	case bytes.Equal(have, f.content):
		return nil, nil //nolint:nilnil // no change is no error
	}
	c := &change{Action: update, Object: f.path}
	var u v1alpha1.ShardingUser
	if f.user != nil && !f.secret && yaml.Unmarshal(have, &u) == nil {
		c.Fields = f.user.differences(&u)
	}
	return c, nil
}

func (d directory) changes(_ context.Context, entries []entry) (changes []change, _ []remark, err error) {
	files, err := d.files(entries)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range files {
		c, err := d.compare(f)
		if err != nil {
			return nil, nil, err
		}
		if c != nil {
			changes = append(changes, *c)
		}
	}
	return changes, nil, nil
}

func (d directory) write(_ context.Context, entries []entry) (changes []change, _ []remark, err error) {
	files, err := d.files(entries)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range files {
		c, err := d.compare(f)
		if err == nil && c == nil && f.secret {
			err = os.Chmod(f.path, d.mode(f))
		}
		if err == nil && c != nil {
			changes = append(changes, *c)
			err = d.put(f)
		}
		if err != nil {
			return changes, nil, err
		}
	}
	return changes, nil, nil
}

// put writes a file as a whole or not at all, and never with more readers than it is to have.
func (d directory) put(f file) error {
	folder, mode := filepath.Dir(f.path), fs.FileMode(dirForAll)
	if f.secret {
		mode = dirForOwner
	}
	if err := os.MkdirAll(folder, mode); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(folder, ".import-*")
	if err != nil {
		return err
	}
	_, err = temporary.Write(f.content)
	err = errors.Join(err, temporary.Chmod(d.mode(f)), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), f.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", f.path, err), os.Remove(temporary.Name()))
	}
	return nil
}
