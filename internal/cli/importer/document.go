// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// mark begins a document.
const mark = "---"

// A document is one of a file of YAML.
type document struct {
	text   []byte
	object string // what it is of, as a change calls it: kind and name
	sealed bool   // its values are encrypted, so that nobody can compare them
}

// documents are those of a file, in its order.
type documents struct {
	list []*document
	of   map[string]*document // by object, where they are of one
}

// A manifest is a document as import wants it.
type manifest interface {
	// object is what it is of, as a change calls it.
	object() string

	// compare tells whether a document of that object is another one, as far as the manifest says, and in which fields.
	compare(text []byte) (differs bool, fields []string, err error)
}

// parse takes a file's content apart.
func parse(content []byte) (documents, error) {
	all := documents{of: map[string]*document{}}
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		var o struct {
			Kind     string
			Metadata struct{ Name string }
			Sops     any // https://getsops.io encrypts a document where it is
		}
		if err == nil {
			err = yaml.Unmarshal(text, &o)
		}
		if err != nil {
			return all, err
		}
		if bytes.HasPrefix(text, []byte(mark)) { // the reader leaves the first one in
			_, text, _ = bytes.Cut(text, []byte("\n"))
		}
		d := document{text: text, sealed: o.Sops != nil || o.Kind == "SealedSecret"}
		switch o.Kind {
		case "ShardingUser":
			d.object = ObjectUser + o.Metadata.Name
		case "Secret", "SealedSecret":
			d.object = ObjectSecret + o.Metadata.Name
		}
		all.add(d)
	}
}

// documentsOf is a file of these manifests.
func documentsOf(manifests []manifest) (documents, error) {
	all := documents{of: map[string]*document{}}
	for _, m := range manifests {
		text, err := yaml.Marshal(m)
		if err != nil {
			return all, err
		}
		all.add(document{text: text, object: m.object()})
	}
	return all, nil
}

func (all *documents) add(d document) {
	all.list = append(all.list, &d)
	if d.object != "" {
		all.of[d.object] = &d
	}
}

// drop takes what is of an object out, and tells whether there was any.
func (all *documents) drop(object string) bool {
	gone := all.of[object]
	if gone == nil {
		return false
	}
	delete(all.of, object)
	all.list = slices.DeleteFunc(all.list, func(d *document) bool { return d == gone })
	return true
}

// content is the documents as one text, each begun by its mark.
func (all *documents) content() []byte {
	var b bytes.Buffer
	for _, d := range all.list {
		b.WriteString(mark + "\n")
		b.Write(bytes.TrimSuffix(d.text, []byte("\n")))
		b.WriteString("\n")
	}
	return b.Bytes()
}

// secret tells whether they are for their owner only.
func (all *documents) secret() bool {
	return slices.ContainsFunc(all.list, func(d *document) bool { return !d.sealed && strings.HasPrefix(d.object, ObjectSecret) })
}

// merge puts a manifest among the documents. What is there already and is as wanted stays to the byte; else what the manifest
// says of it changes, and nothing else: labels, spec.password.maxAge, the place in the file.
func (all *documents) merge(want manifest) (differs bool, fields []string, err error) {
	text, err := yaml.Marshal(want)
	if err != nil {
		return false, nil, err
	}
	have := all.of[want.object()]
	switch {
	case have == nil:
		all.add(document{text: text, object: want.object()})
		return true, nil, nil
	case have.sealed, bytes.Equal(have.text, text):
		return false, nil, nil
	}
	if differs, fields, err = want.compare(have.text); err != nil || !differs {
		return false, nil, err
	}
	var over, under map[string]any
	if err := errors.Join(yaml.Unmarshal(text, &over), yaml.Unmarshal(have.text, &under)); err != nil {
		return false, nil, err
	}
	if user, ok := want.(userManifest); ok && user.Spec.Password == nil && slices.Contains(fields, fieldPassword) {
		delete(under["spec"].(map[string]any), fieldPassword) //nolint:forcetypeassert // compare found it there
	}
	have.text, err = yaml.Marshal(overlaid(under, over))
	return true, fields, err
}

// overlaid is the lower value with all that the upper one says.
func overlaid(under, over any) any {
	lower, ok := under.(map[string]any)
	upper, both := over.(map[string]any)
	if !ok || !both {
		return over
	}
	for name, value := range upper {
		lower[name] = overlaid(lower[name], value)
	}
	return lower
}

func (want userManifest) object() string { return ObjectUser + want.Metadata.Name }

func (want userManifest) compare(text []byte) (differs bool, fields []string, err error) {
	have, err := parseUser(text)
	if err != nil {
		return false, nil, err
	}
	fields = want.differences(have)
	return len(fields) > 0, fields, nil
}

// parseUser is a document's ShardingUser, with what the API server would put in where it says nothing.
func parseUser(text []byte) (*v1alpha1.ShardingUser, error) {
	u := &v1alpha1.ShardingUser{}
	if err := yaml.Unmarshal(text, u); err != nil {
		return nil, err
	}
	if u.Spec.AdoptionPolicy == "" {
		u.Spec.AdoptionPolicy = v1alpha1.AdoptionNever
	}
	if u.Spec.DeletionPolicy == "" {
		u.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	}
	if p := u.Spec.Password; p != nil && p.SecretRef.Key == "" {
		p.SecretRef.Key = SecretKey
	}
	if p := u.Spec.Password; p != nil && p.Format == "" {
		p.Format = v1alpha1.PasswordFormatPlain
	}
	return u, nil
}

func (want secretManifest) object() string { return ObjectSecret + want.Metadata.Name }

func (want secretManifest) compare(text []byte) (differs bool, fields []string, err error) {
	var have secretManifest
	if err := yaml.Unmarshal(text, &have); err != nil {
		return false, nil, fmt.Errorf("%s is not the manifest of a Secret", want.object()) // what is wrong could quote a value
	}
	moved := want.Metadata.Namespace != "" && want.Metadata.Namespace != have.Metadata.Namespace
	return moved || want.differs(have.Data), nil, nil
}
