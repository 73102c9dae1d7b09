// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"regexp"
	"strings"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// errGlob reports a glob that the API server should have rejected.
var errGlob = errors.New("a pattern contains only letters, digits, . _ : @ + - and the wildcards * and ?")

// globs matches a valid glob, as in the CRD.
var globs = regexp.MustCompile(`^[A-Za-z0-9._:@+*?-]+$`)

// anyOf returns the expression that matches what one of the globs matches; without globs it matches only the empty
// text. Matching takes time proportional to the text, because neither Go nor CEL backtracks.
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

// wildcards turns quoted wildcards into expressions. A name has no line ending.
var wildcards = strings.NewReplacer(`\*`, `.*`, `\?`, `.`)

// stars matches adjacent stars. They match what one star matches, and each would add to the cost of the expression.
var stars = regexp.MustCompile(`\*{2,}`)

// whole returns an expression that matches if one alternative matches the whole text.
func whole(alternatives ...string) string { return "^(?:" + strings.Join(alternatives, "|") + ")$" }
