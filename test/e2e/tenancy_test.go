// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// The API server reports unknown fields. Nothing is stored: policies are cluster-wide, and would affect
// the users of other tests.
func TestAPIServerAcceptsTheTenancyExamples(t *testing.T) {
	t.Parallel()
	c, err := client.New(plane.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c = client.WithFieldValidation(c, metav1.FieldValidationStrict)
	page := func(path string) string {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var blocks [][]byte
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(page("docs/tenancy.md"), -1) {
		blocks = append(blocks, []byte(block[1]))
	}
	if len(blocks) < 4 {
		t.Errorf("docs/tenancy.md has %d blocks of YAML: does the test still parse the page?", len(blocks))
	}
	blocks = append(blocks, []byte(page("config/samples/shardinguserpolicy.yaml")))
	policies := 0
	for _, block := range blocks {
		for document := range bytes.SplitSeq(block, []byte("\n---\n")) {
			o := &unstructured.Unstructured{}
			if err := yaml.UnmarshalStrict(document, &o.Object); err != nil {
				t.Errorf("%v:\n%s", err, document)
				continue
			}
			if o.GetKind() == "ShardingUserPolicy" {
				policies++
			}
			if name := o.GetNamespace(); name != "" {
				err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
				if err != nil && !apierrors.IsAlreadyExists(err) {
					t.Fatal(err)
				}
			}
			if err := c.Create(t.Context(), o, client.DryRunAll); err != nil {
				t.Errorf("%v:\n%s", err, document)
			}
		}
	}
	if policies < 5 {
		t.Errorf("the test sent %d policies to the API server", policies)
	}
}
