// SPDX-License-Identifier: Apache-2.0

// Prose reports wordings that users have to read twice: `make lint` runs it at the root of the repository. It covers the
// documentation, the API's comments, and the texts that programs show.
package main

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func main() {
	list, err := exec.CommandContext(context.Background(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		fatal(fmt.Errorf("list the files of the repository: %w", err))
	}
	count := 0
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		k := kindOf(name)
		if k == skipped {
			continue
		}
		source, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue // deleted, and not committed yet
		}
		if err != nil {
			fatal(err)
		}
		texts, err := textsOf(name, string(source), k)
		if err != nil {
			fatal(err)
		}
		for _, t := range texts {
			for _, problem := range found(t.text) {
				fmt.Printf("%s:%d: %s\n", name, t.line, problem)
				count++
			}
		}
	}
	if count > 0 {
		fatal(fmt.Errorf("%d wordings to change", count))
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "prose:", err)
	os.Exit(1)
}

// A text is prose that begins at a line of a file.
type text struct {
	line int
	text string
}

func textsOf(name, source string, k kind) ([]text, error) {
	switch k {
	case page:
		return ofPage(source), nil
	case lines:
		return ofLines(source), nil
	default:
		return ofGo(name, source, k)
	}
}

func ofLines(source string) (texts []text) {
	for i, line := range strings.Split(source, "\n") {
		texts = append(texts, text{i + 1, line})
	}
	return texts
}

var (
	span   = regexp.MustCompile("`[^`]*`")
	quote  = regexp.MustCompile(`"[^"]*"`)
	target = regexp.MustCompile(`\]\([^)]*\)`)
	bullet = regexp.MustCompile(`^\s*(?:[-*|>]|\d+\.)\s`)
)

// ofPage returns the paragraphs of a Markdown page, without code, quotations, headings and the targets of links.
func ofPage(source string) (texts []text) {
	var paragraph text
	flush := func() {
		if paragraph.text != "" {
			clean := target.ReplaceAllString(quote.ReplaceAllString(span.ReplaceAllString(paragraph.text, "`"), "`"), "]")
			for cell := range strings.SplitSeq(clean, " | ") {
				texts = append(texts, text{paragraph.line, cell})
			}
		}
		paragraph = text{}
	}
	fenced := false
	for i, line := range strings.Split(source, "\n") {
		trimmed := strings.TrimSpace(line)
		fence := strings.HasPrefix(trimmed, "```")
		if fence {
			fenced = !fenced
		}
		if fence || fenced || trimmed == "" || strings.HasPrefix(trimmed, "#") {
			flush()
			continue
		}
		if bullet.MatchString(line) {
			flush()
		}
		if paragraph.text == "" {
			paragraph.line = i + 1
		} else {
			paragraph.text += " "
		}
		paragraph.text += trimmed
	}
	flush()
	return texts
}

// ofGo returns the texts of a Go file that people may read.
func ofGo(name, source string, k kind) (texts []text, err error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	add := func(n ast.Node, s string) { texts = append(texts, text{files.Position(n.Pos()).Line, s}) }
	if k == spelled {
		for _, group := range file.Comments {
			add(group, strings.Join(strings.Fields(group.Text()), " "))
		}
	}
	if k != faces {
		addLiterals(file, add)
		return texts, nil
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if isShown(n.Fun) {
				for _, argument := range n.Args {
					addLiterals(argument, add)
				}
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Help" {
				addLiterals(n.Value, add)
			}
		}
		return true
	})
	return texts, nil
}

// isShown reports whether a function logs its texts, or describes a metric by them.
func isShown(function ast.Expr) bool {
	selector, ok := function.(*ast.SelectorExpr)
	return ok && slices.Contains([]string{"Debug", "Info", "Warn", "Error", "LogAttrs", "NewDesc"}, selector.Sel.Name)
}

var statement = regexp.MustCompile(`(?i)\b(?:select|insert|update|delete|create|alter|grant|with)\b[\s\S]*\b(?:from|into|set|table|on|as)\b`)

// addLiterals adds the texts below a node, without SQL. Texts that are joined by + are one.
func addLiterals(below ast.Node, add func(ast.Node, string)) {
	ast.Inspect(below, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.BinaryExpr, *ast.BasicLit:
			s, whole := joined(n.(ast.Expr))
			if strings.Contains(s, " ") && !statement.MatchString(s) {
				add(n, strings.Join(strings.Fields(s), " "))
			}
			return !whole
		}
		return true
	})
}

// joined returns the text of an expression, and whether there is nothing else in it to look at.
func joined(e ast.Expr) (s string, whole bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			s, _ = strconv.Unquote(e.Value)
		}
		return s, true
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			left, leftWhole := joined(e.X)
			right, rightWhole := joined(e.Y)
			return left + right, leftWhole && rightWhole
		}
	}
	return "", false
}
