// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// repository is the root of the repository, two folders above the package.
func repository(t *testing.T) (root string) {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// page returns a file of the repository by its path from the root.
func page(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository(t), path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// code returns the spans between backticks in a text, without code blocks.
func code(text string) (spans []string) {
	text = regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "")
	for _, span := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(text, -1) {
		spans = append(spans, span[1])
	}
	return spans
}

// declared returns the names of all tests and fuzz targets, and the sentences of the conformance suite.
func declared(t *testing.T) map[string]bool {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	promise := regexp.MustCompile(`(?m)^\t\{"([^"\n]+)", func\(`)
	names := map[string]bool{}
	tree := os.DirFS(repository(t))
	err := fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (path == ".git" || path == "bin"):
			return fs.SkipDir
		case entry.IsDir():
			return nil
		}
		var pattern *regexp.Regexp
		switch {
		case strings.HasSuffix(path, "_test.go"):
			pattern = function
		case strings.HasPrefix(path, "internal/store/storetest/"):
			pattern = promise
		default:
			return nil
		}
		source, err := fs.ReadFile(tree, path)
		for _, match := range pattern.FindAllSubmatch(source, -1) {
			names[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A claim needs a test that exists.
func TestTheThreatModelNamesExistingFilesAndTests(t *testing.T) {
	t.Parallel()
	text, tests, root := page(t, "docs/security.md"), declared(t), repository(t)
	test := regexp.MustCompile(`^(?:Test|Fuzz)\w+$`)
	path := regexp.MustCompile(`^(?:\.ci|\.github|api|cmd|config|docs|examples|hack|internal|test)/[\w./-]+$`)
	named, paths := 0, 0
	for _, span := range code(text) {
		switch {
		case test.MatchString(span):
			named++
			if !tests[span] {
				t.Errorf("docs/security.md names the test %s, which is not there", span)
			}
		case path.MatchString(span) || span == "SECURITY.md" || span == "Dockerfile" || span == "Makefile":
			paths++
			if _, err := os.Stat(filepath.Join(root, span)); err != nil {
				t.Errorf("docs/security.md names a file that is not there: %v", err)
			}
		}
	}
	promises := regexp.MustCompile(`"([^"\n]+)" of the conformance suite`).FindAllStringSubmatch(text, -1)
	for _, promise := range promises {
		if !tests[promise[1]] {
			t.Errorf("docs/security.md names %q, which the conformance suite does not have", promise[1])
		}
	}
	if named < 100 || paths < 40 || len(promises) < 3 {
		t.Errorf("it names %d tests, %d files and %d promises: is it still read right?", named, paths, len(promises))
	}
}

func TestThePageOnDatabasesListsEachKindOfFinding(t *testing.T) {
	t.Parallel()
	_, section, found := strings.Cut(page(t, "docs/database.md"), "## Table findings\n")
	if !found {
		t.Fatal("docs/database.md has no section about findings")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	named := code(section)
	for _, kind := range store.FindingKinds() {
		if !slices.Contains(named, kind) {
			t.Errorf("docs/database.md does not have the kind %s", kind)
		}
	}
}

// Links to other pages and to their headings.
func TestLinksOfTheDocumentationResolve(t *testing.T) {
	t.Parallel()
	root := repository(t)
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	decisions, err := filepath.Glob(filepath.Join(root, "docs", "adr", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, decisions...)
	for _, name := range []string{
		"README.md", "CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md",
		"charts/shardinguser-operator/README.md", "examples/gateways/README.md", "examples/gitops/README.md",
	} {
		pages = append(pages, filepath.Join(root, name))
	}
	link := regexp.MustCompile(`\[([^][]*)\]\(([^)\s]+)\)`)
	links := 0
	for _, from := range pages {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			target, anchor, _ := strings.Cut(match[2], "#")
			if strings.Contains(target, "://") {
				continue
			}
			links++
			if strings.HasSuffix(match[1], ".md") && filepath.Base(match[1]) != filepath.Base(target) {
				t.Errorf("%s calls %s %s", filepath.Base(from), target, match[1])
			}
			to := from
			if target != "" {
				to = filepath.Join(filepath.Dir(from), target)
			}
			there, err := os.Stat(to)
			if err != nil {
				t.Errorf("%s links to what is not there: %v", filepath.Base(from), err)
				continue
			}
			if anchor != "" && !there.IsDir() && !headings(t, to)[anchor] {
				t.Errorf("%s links to %s, which has no heading %q", filepath.Base(from), filepath.Base(to), anchor)
			}
		}
	}
	if links < 50 {
		t.Errorf("there are %d links: are they still read right?", links)
	}
}

// headings returns the anchors of a page.
func headings(t *testing.T, path string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(string(text), -1) {
		anchor := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(match[1]), "")
		anchors[strings.ReplaceAll(anchor, " ", "-")] = true
	}
	return anchors
}
