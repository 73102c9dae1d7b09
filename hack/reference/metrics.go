// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// A metric is what the code says of one that it registers.
type metric struct {
	name, help string
	labels     []string
}

// writeMetrics writes the table of metrics into docs/monitoring.md. It reads them from the code, since many of them are
// registered only by a manager with a database and a cluster.
func writeMetrics(root *os.Root) error {
	var all []metric
	for _, folder := range []string{"cmd/manager", "internal"} {
		err := fs.WalkDir(root.FS(), folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := root.ReadFile(path)
			if err != nil {
				return err
			}
			found, err := metricsOf(path, source)
			all = append(all, found...)
			return err
		})
		if err != nil {
			return err
		}
	}
	slices.SortFunc(all, func(a, b metric) int { return cmp.Compare(a.name, b.name) })
	rows := [][]string{{"metric", "meaning"}}
	for _, m := range all {
		name := m.name
		if len(m.labels) > 0 {
			name += "{" + strings.Join(m.labels, ",") + "}"
		}
		rows = append(rows, []string{"`" + name + "`", strings.TrimSuffix(m.help, ".")})
	}
	return replace(root, "docs/monitoring.md", "metrics", table(rows...))
}

// metricsOf returns the metrics that a file describes, if it imports the client of Prometheus.
func metricsOf(path string, source []byte) (found []metric, err error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool {
		return i.Path.Value == `"github.com/prometheus/client_golang/prometheus"`
	}) {
		return nil, nil
	}
	ast.Inspect(file, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		m := described(call.Args)
		if !strings.HasPrefix(m.name, "shardinguser_") {
			return true
		}
		if m.help == "" {
			err = fmt.Errorf("%s: %s is described by something other than constant text", path, m.name)
		}
		found = append(found, m)
		return true
	})
	return found, err
}

// described returns the metric that the arguments of a call describe: options with Name and Help, or a name and a help; and
// then labels.
func described(args []ast.Expr) (m metric) {
	options, isOptions := args[0].(*ast.CompositeLit)
	rest := args[1:]
	if isOptions {
		for _, element := range options.Elts {
			pair, ok := element.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			switch key, _ := pair.Key.(*ast.Ident); key.String() {
			case "Name":
				m.name = constant(pair.Value)
			case "Help":
				m.help = constant(pair.Value)
			}
		}
	} else if len(rest) > 0 {
		m.name, m.help = constant(args[0]), constant(rest[0])
		rest = rest[1:]
	}
	if len(rest) == 0 {
		return m
	}
	if labels, ok := rest[0].(*ast.CompositeLit); ok {
		for _, label := range labels.Elts {
			m.labels = append(m.labels, constant(label))
		}
	}
	return m
}

// constant returns a text of literals, "" for anything else.
func constant(expression ast.Expr) string {
	switch e := expression.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(e.Value)
		return text
	case *ast.BinaryExpr:
		left, right := constant(e.X), constant(e.Y)
		if left != "" && right != "" {
			return left + right
		}
	}
	return ""
}
