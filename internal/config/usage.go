// SPDX-License-Identifier: Apache-2.0

package config

import (
	"flag"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sharding-system/shardinguser-operator/internal/dsn"
)

// printUsage describes the settings of the table, and the flags that are not in it.
func printUsage(w io.Writer, sections []Section, others *flag.FlagSet) {
	fmt.Fprintf(w, `Usage: manager [flags]

Each flag can also be set by an environment variable (--bcrypt-cost is
%s) or a key of the settings file's section "%s"
(bcrypt-cost: 12). Flags override the environment, which overrides the file.

The database DSN is never a flag. It comes from the file that
--%s names, from the environment variable %s,
or from %s in the settings file, in this order of precedence.
Without a DSN, accounts are kept in memory. DSNs of other roles are in files too.
`, variable("bcrypt-cost"), sectionOperator, flagDSNFile, dsn.Variable, keyDSN)
	for _, section := range sections {
		fmt.Fprintf(w, "\n%s:\n", section.Title)
		for _, s := range section.Settings {
			printFlag(w, s.Name, s.Unit, plainText(s.Help), s.Default+plainText(s.Absent))
		}
	}
	fmt.Fprint(w, "\nOther flags:\n")
	others.VisitAll(func(f *flag.Flag) {
		unit, text := flag.UnquoteUsage(f)
		printFlag(w, f.Name, unit, text, f.DefValue)
	})
}

func printFlag(w io.Writer, name, unit, text, fallback string) {
	if unit != "" {
		name += " " + unit
	}
	if fallback != "" && fallback != "false" {
		text += " (default " + fallback + ")"
	}
	fmt.Fprintf(w, "  --%s\n    \t%s\n", name, text)
}

var link = regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`)

// plainText returns a text in Markdown without its links and backticks.
func plainText(markdown string) string {
	return strings.ReplaceAll(link.ReplaceAllString(markdown, "$1"), "`", "")
}

// nearest returns the flag whose name is the fewest edits away from name.
func (l *loader) nearest(name string) string {
	best, least := "", -1
	l.flags.VisitAll(func(f *pflag.Flag) {
		if d := distance(name, f.Name); least < 0 || d < least {
			best, least = f.Name, d
		}
	})
	return best
}

// distance is Levenshtein's: how many bytes to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
