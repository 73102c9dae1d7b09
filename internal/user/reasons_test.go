// SPDX-License-Identifier: Apache-2.0

package user

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestEveryReasonOfReadyHasAMeaning(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../api/v1alpha1/conditions.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	for _, d := range file.Decls {
		constants, ok := d.(*ast.GenDecl)
		if !ok || !strings.HasPrefix(constants.Doc.Text(), "Reasons of the condition Ready.") {
			continue
		}
		for _, spec := range constants.Specs {
			reason, err := strconv.Unquote(spec.(*ast.ValueSpec).Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			declared = append(declared, reason)
		}
	}
	slices.Sort(declared)
	if got := ReadyReasons(); !slices.Equal(got, declared) {
		t.Errorf("readyReasons has %q\nthe API declares  %q", got, declared)
	}
}
