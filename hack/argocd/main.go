// SPDX-License-Identifier: Apache-2.0

// Command argocd generates a patch of the ConfigMap argocd-cm, which every Argo CD reads, from the Lua scripts in
// config/argocd/resource_customizations, which have the layout of Argo CD's repository.
//
//	go run ./hack/argocd config/argocd
package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

const header = `# Health and actions of ShardingUsers and ShardingUserPolicies for Argo CD. Generated from resource_customizations: run
# "make generate" after a change there.
#
#   kubectl -n argocd patch configmap argocd-cm --patch-file config/argocd/argocd-cm.yaml
`

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: argocd FOLDER, the one with resource_customizations")
		os.Exit(2)
	}
	if err := generate(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "generate the patch of argocd-cm:", err)
		os.Exit(1)
	}
}

// generate writes argocd-cm.yaml into the folder.
func generate(folder string) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	data, err := customizations(root.FS())
	if err != nil {
		return err
	}
	patch, err := yaml.Marshal(configMap{
		APIVersion: "v1", Kind: "ConfigMap", Metadata: metadata{Name: "argocd-cm"}, Data: data,
	})
	if err != nil {
		return err
	}
	return root.WriteFile("argocd-cm.yaml", append([]byte(header), patch...), 0o644)
}

// configMap and metadata have the fields of the patch. The types of Kubernetes would add a creationTimestamp.
type (
	configMap struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Metadata   metadata          `json:"metadata"`
		Data       map[string]string `json:"data"`
	}
	metadata struct {
		Name string `json:"name"`
	}
)

// customizations returns the data of the ConfigMap, with one key for the health of each kind and one for its actions, if any.
func customizations(tree fs.FS) (map[string]string, error) {
	scripts, err := fs.Glob(tree, "resource_customizations/*/*/health.lua")
	if err != nil {
		return nil, err
	}
	if len(scripts) == 0 {
		return nil, errors.New("there is no health.lua")
	}
	data := map[string]string{}
	for _, script := range scripts {
		kind := path.Dir(script)
		key := path.Base(path.Dir(kind)) + "_" + path.Base(kind)
		health, err := fs.ReadFile(tree, script)
		if err != nil {
			return nil, err
		}
		data["resource.customizations.health."+key] = string(health)
		actions, err := actions(tree, path.Join(kind, "actions"))
		if err != nil {
			return nil, err
		}
		if actions != "" {
			data["resource.customizations.actions."+key] = actions
		}
	}
	return data, nil
}

// resourceActions and actionDefinition have the field names of Argo CD.
type (
	resourceActions struct {
		Discovery   string             `json:"discovery.lua"`
		Definitions []actionDefinition `json:"definitions"`
	}
	actionDefinition struct {
		Name   string `json:"name"`
		Action string `json:"action.lua"`
	}
)

// actions returns the actions in a kind's folder as one YAML document, or an empty text if the folder does not exist.
func actions(tree fs.FS, folder string) (string, error) {
	discovery, err := fs.ReadFile(tree, path.Join(folder, "discovery.lua"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	scripts, err := fs.Glob(tree, path.Join(folder, "*", "action.lua"))
	if err != nil {
		return "", err
	}
	all := resourceActions{Discovery: string(discovery)}
	for _, script := range scripts {
		action, err := fs.ReadFile(tree, script)
		if err != nil {
			return "", err
		}
		all.Definitions = append(all.Definitions, actionDefinition{Name: path.Base(path.Dir(script)), Action: string(action)})
	}
	slices.SortFunc(all.Definitions, func(a, b actionDefinition) int { return cmp.Compare(a.Name, b.Name) })
	document, err := yaml.Marshal(all)
	return strings.TrimSpace(string(document)) + "\n", err
}
