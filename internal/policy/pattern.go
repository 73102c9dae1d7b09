// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"regexp"
	"strings"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// errGlob is for a glob that the API server should have refused.
var errGlob = errors.New("a pattern contains only letters, digits, . _ : @ + - and the wildcards * and ?")

// globs is what a glob may be, as the CRD has it.
var globs = regexp.MustCompile(`^[A-Za-z0-9._:@+*?-]+$`)

// anyOf is the expression of what one of the globs matches; without globs it matches nothing but what is empty. It takes
// time in proportion to what it is held against, whatever the globs: Go's expressions do not backtrack, nor do those of CEL,
// which are the same.
func anyOf(patterns []v1alpha1.Glob) (*regexp.Regexp, error) {
	alternatives := make([]string, 0, len(patterns))
	for _, glob := range patterns {
		if !globs.MatchString(string(glob)) {
			return nil, errGlob
		}
		glob := stars.ReplaceAllString(string(glob), "*")
		alternatives = append(alternatives, wildcards.Replace(regexp.QuoteMeta(glob)))
	}
	return regexp.Compile(whole(alternatives...))
}

// wildcards turns what QuoteMeta makes of the wildcards into expressions. A name has no line end.
var wildcards = strings.NewReplacer(`\*`, `.*`, `\?`, `.`)

// stars matches adjacent stars, which match what one star does and would make the expression cost that of each.
var stars = regexp.MustCompile(`\*{2,}`)

// whole is an expression of which one alternative has to match a text from end to end.
func whole(alternatives ...string) string { return "^(?:" + strings.Join(alternatives, "|") + ")$" }
