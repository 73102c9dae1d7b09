// SPDX-License-Identifier: Apache-2.0

package config

import (
	"flag"
	"fmt"
	"io"

	"github.com/sharding-system/shardinguser-operator/internal/dsn"
)

// printUsage describes all flags of fs, in the order of their names.
func printUsage(w io.Writer, fs *flag.FlagSet) {
	fmt.Fprintf(w, `Usage: manager [flags]

Each flag can also be set by an environment variable (--bcrypt-cost is
%s) or a key of the settings file's section "%s"
(bcrypt-cost: 12). Flags override the environment, which overrides the file.

The database DSN is never a flag. It comes from the file that
--%s names, from the environment variable %s,
or from %s in the settings file, in this order of precedence.
Without a DSN, accounts are kept in memory. DSNs of other roles are in files too.

Flags:
`, envName("bcrypt-cost"), sectionOperator, flagDSNFile, dsn.Variable, keyDSN)
	fs.VisitAll(func(f *flag.Flag) {
		kind, text := flag.UnquoteUsage(f)
		name := "  --" + f.Name
		if kind != "" {
			name += " " + kind
		}
		if f.DefValue != "" && f.DefValue != "false" {
			text += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(w, "%s\n    \t%s\n", name, text)
	})
}

// nearest returns the flag whose name is the fewest edits away from name.
func (l *loader) nearest(name string) string {
	best, least := "", -1
	l.flags.VisitAll(func(f *flag.Flag) {
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
