// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// manifest has the fields by which other projects name the Secret that they create.
type manifest struct {
	Kind string `json:"kind"`
	Spec struct {
		EncryptedData map[string]string `json:"encryptedData"`
		Template      struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
		} `json:"template"`
		Target struct {
			Name string `json:"name"`
		} `json:"target"`
		Data []struct {
			SecretKey string `json:"secretKey"`
		} `json:"data"`
	} `json:"spec"`
}

// secretKeys returns the Secret that the manifest leads to, and its keys.
func (m manifest) secretKeys() (name string, keys []string) {
	for key := range m.Spec.EncryptedData {
		keys = append(keys, key)
	}
	for _, item := range m.Spec.Data {
		keys = append(keys, item.SecretKey)
	}
	if m.Kind == "ExternalSecret" {
		return m.Spec.Target.Name, keys
	}
	return m.Spec.Template.Metadata.Name, keys
}

// It is the short form of package gitops' TestTheExampleRepository, which syncs these files with Argo CD's libraries.
func TestExampleUsersAreValidAndHaveTheirSecrets(t *testing.T) {
	users := 0
	teams, err := filepath.Glob(filepath.Join(repository(t), "examples/gitops/teams/*"))
	if err != nil || len(teams) < 2 {
		t.Fatalf("there are the teams %v: %v", teams, err)
	}
	for _, team := range teams {
		var kustomization struct {
			Resources []string `json:"resources"`
		}
		readYAML(t, filepath.Join(team, "kustomization.yaml"), &kustomization)
		secrets, references := map[string][]string{}, map[string]v1alpha1.SecretKeyReference{}
		for _, file := range kustomization.Resources {
			path := filepath.Join(team, file)
			var m manifest
			readYAML(t, path, &m)
			switch m.Kind {
			case "ShardingUser":
				users++
				if p := readUser(t, path).Spec.Password; p != nil {
					references[path] = p.SecretRef
				}
			case "SealedSecret", "ExternalSecret":
				name, keys := m.secretKeys()
				secrets[name] = keys
			case "Secret":
				t.Errorf("%s has a password in Git", path)
			}
		}
		for path, reference := range references {
			key := reference.Key
			if key == "" {
				key = "password"
			}
			if !slices.Contains(secrets[reference.Name], key) {
				t.Errorf("%s refers to the key %q of Secret %q; its kustomization makes the Secrets %v", path, key, reference.Name, secrets)
			}
		}
	}
	if users < 3 {
		t.Errorf("there are %d users: are the examples still read right?", users)
	}
}

// readUser fails for fields that the API does not have.
func readUser(t *testing.T, path string) (u v1alpha1.ShardingUser) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, &u); err != nil {
		t.Errorf("%s: %v", path, err)
	}
	return u
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
