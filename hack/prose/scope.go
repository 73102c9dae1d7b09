// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path"
	"slices"
	"strings"
)

// notYet are folders whose texts are not covered yet, but for log lines and the help of metrics. Shrink this list.
var notYet = []string{
	"test", // what the bench and the soak report
}

// commented are folders whose comments are covered too, because users see them. Shrink the rest the same way.
var commented = []string{
	"api/v1alpha1",
	"cmd",
	"hack/argocd",
	"hack/benchplot",
	"hack/demo",
	"hack/node",
	"hack/prose",
	"hack/reference",
	"hack/sql",
	"hack/testprofile",
	"internal/bcrypt",
	"internal/cli",
	"internal/config",
	"internal/controller",
	"internal/dsn",
	"internal/fair",
	"internal/login",
	"internal/password",
	"internal/policy",
	"internal/serving",
	"internal/store",
	"internal/tracing",
	"internal/user",
	"test/bench",
	"test/chart",
	"test/corpus",
	"test/docs",
	"test/e2e",
	"test/gitops",
	"test/ha",
	"test/monitoring",
	"test/node",
	"test/shardingmanager",
	"test/soak",
	"test/testenv",
}

// plain are files, and folders of YAML files, that are covered line by line.
var plain = []string{
	"charts/shardinguser-operator/Chart.yaml",
	"charts/shardinguser-operator/templates/NOTES.txt",
	"charts/shardinguser-operator/values.schema.json",
	"charts/shardinguser-operator/values.yaml",
	"config",
	"config/database/roles.sql",
	"config/database/sharding-manager.sql",
	"examples",
	"examples/gateways/nginx-site.conf",
	"internal/login/openapi.yaml",
}

// pages are Markdown files and folders of them.
var pages = []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "docs", "charts", "examples", "hack/server-side-apply.md"}

type kind int

const (
	skipped kind = iota
	page
	lines
	faces   // log lines and the help of metrics in a Go file
	strung  // all texts of a Go file
	spelled // all texts and comments of a Go file
)

// kindOf returns how the file at path is checked.
func kindOf(name string) kind {
	switch {
	case strings.HasSuffix(name, ".md") && in(name, pages):
		return page
	case slices.Contains(plain, name) || slices.Contains([]string{".yaml", ".json"}, path.Ext(name)) && in(name, plain):
		return lines
	case path.Ext(name) != ".go" || strings.HasPrefix(path.Base(name), "zz_generated"):
		return skipped
	case name == "hack/prose/rules.go" || name == "hack/prose/main_test.go": // which quote what they ban
		return skipped
	case in(name, commented): // with its tests
		return spelled
	case strings.HasSuffix(name, "_test.go"):
		return skipped
	case in(name, notYet):
		return faces
	case in(name, []string{"api", "cmd", "internal", "hack/demo"}):
		return strung
	}
	return skipped
}

// in reports whether a file is one of these, or below one of these folders.
func in(name string, these []string) bool {
	return slices.ContainsFunc(these, func(this string) bool { return name == this || strings.HasPrefix(name, this+"/") })
}
