// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/onsi/gomega"
)

func TestEveryTestInTheDocumentationExists(t *testing.T) {
	t.Parallel()
	g := gomega.NewWithT(t)
	checkout := os.DirFS(root)
	there, withoutRaceDetector := map[string]bool{}, map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, folder := range []string{"api", "cmd", "internal", "test"} {
		err := fs.WalkDir(checkout, folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := fs.ReadFile(checkout, path)
			for _, match := range declared.FindAllStringSubmatch(string(source), -1) {
				there[match[1]] = true
				if strings.Contains(string(source), "\n//go:build !race\n") {
					withoutRaceDetector[match[1]] = true
				}
			}
			return err
		})
		g.Expect(err).NotTo(gomega.HaveOccurred())
	}
	// The short run tests packages of RACED under the race detector alone, and else only what SHARE_TESTS names.
	makefile, err := fs.ReadFile(checkout, "Makefile")
	g.Expect(err).NotTo(gomega.HaveOccurred())
	for name := range withoutRaceDetector {
		g.Expect(string(makefile)).To(gomega.ContainSubstring(name), "SHARE_TESTS")
	}
	for file, atLeast := range map[string]int{
		"docs/faults.md": 50,
		"Makefile":       5, // a name that does not exist would silently select no test
	} {
		content, err := fs.ReadFile(checkout, file)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		named := regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(string(content), -1)
		g.Expect(len(named)).To(gomega.BeNumerically(">", atLeast), file)
		for _, name := range named {
			g.Expect(there).To(gomega.HaveKey(name), file)
		}
	}
}
