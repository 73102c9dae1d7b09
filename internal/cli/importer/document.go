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

	corev1 "k8s.io/api/core/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
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
			d.object = objectUser + o.Metadata.Name
		case "Secret", "SealedSecret":
			d.object = objectSecret + o.Metadata.Name
		}
		all.add(d)
	}
}

// documentsOf is a file of these objects.
func documentsOf(objects []client.Object) (documents, error) {
	all := documents{of: map[string]*document{}}
	for _, object := range objects {
		d, err := documentOf(object)
		if err != nil {
			return all, err
		}
		all.add(d)
	}
	return all, nil
}

func documentOf(object client.Object) (d document, err error) {
	manifest, err := manifestOf(object)
	if err != nil {
		return d, err
	}
	text, err := yaml.Marshal(manifest)
	return document{text: text, object: Called(object)}, err
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
	return slices.ContainsFunc(all.list, func(d *document) bool { return !d.sealed && strings.HasPrefix(d.object, objectSecret) })
}

// merge puts an object among the documents. A document that is as wanted stays byte for byte. In any other, only the fields of
// the manifest change: labels, spec.password.maxAge and the place in the file stay.
func (all *documents) merge(want client.Object) (differs bool, fields []string, err error) {
	d, err := documentOf(want)
	if err != nil {
		return false, nil, err
	}
	have := all.of[d.object]
	switch {
	case have == nil:
		all.add(d)
		return true, nil, nil
	case have.sealed, bytes.Equal(have.text, d.text):
		return false, nil, nil
	}
	if differs, fields, err = compare(want, have.text); err != nil || !differs {
		return false, nil, err
	}
	var over, under map[string]any
	if err := errors.Join(yaml.Unmarshal(d.text, &over), yaml.Unmarshal(have.text, &under)); err != nil {
		return false, nil, err
	}
	if u, ok := want.(*v1alpha1.ShardingUser); ok && u.Spec.Password == nil && slices.Contains(fields, fieldPassword) {
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

// compare reports whether a document of an object is another one, as far as the object says, and in which fields.
func compare(want client.Object, text []byte) (differs bool, fields []string, err error) {
	switch want := want.(type) {
	case *v1alpha1.ShardingUser:
		have, err := parseUser(text)
		if err != nil {
			return false, nil, err
		}
		fields = differences(want, have)
		return len(fields) > 0, fields, nil
	case *corev1.Secret:
		var have corev1.Secret
		if err := yaml.Unmarshal(text, &have); err != nil {
			return false, nil, fmt.Errorf("%s is not the manifest of a Secret", Called(want)) // what is wrong could quote a value
		}
		moved := want.Namespace != "" && want.Namespace != have.Namespace
		return moved || secretDiffers(want, have.Data), nil, nil
	}
	return true, nil, nil
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
