// SPDX-License-Identifier: Apache-2.0

// Package dsn parses a Postgres DSN, in the same way for the manager, the plugin and the store.
//
// pgx sends each parameter that it does not know to the server as a setting of the session. The server refuses those of
// libpq and of other drivers. [Parse] therefore sorts all parameters into four classes:
//
//   - known: pgx uses it.
//   - ignored: a parameter of libpq without effect here. It is dropped.
//   - refused: a parameter that promises what pgx does not do, or that another driver spells differently. It is an error,
//     which says what to write instead.
//   - any other: it may be a setting of the server, such as work_mem. It is sent.
//
// The parameters of a service file and of the PG... variables are treated alike.
package dsn

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Parse returns the configuration of a pool for dsn. The pool's parser serves for single connections too, since it removes
// the parameters of pools (pool_max_conns), which the server would refuse.
//
// An error is a [RefusedError], whose text may be printed, or one of pgx, which may quote the DSN and must not be printed.
func Parse(dsn string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	if err := clean(config.ConnConfig.RuntimeParams); err != nil {
		return nil, err
	}
	return config, nil
}

// A RefusedError reports the parameters that no DSN may have. It names them only where their names are in a fixed list: any
// other name may be a part of a password that is not quoted as it should be.
type RefusedError struct{ reasons []string }

func (e *RefusedError) Error() string {
	return "unsupported parameters: " + strings.Join(e.reasons, "; ")
}

// clean drops the ignored parameters from those that pgx would send, and refuses what the server would not take.
func clean(params map[string]string) error {
	var reasons []string
	for _, name := range slices.Sorted(maps.Keys(params)) {
		reason, drop := classify(name, params[name])
		if drop {
			delete(params, name)
		}
		if reason != "" && !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	if len(reasons) > 0 {
		return &RefusedError{reasons: reasons}
	}
	return nil
}

// settingName is what a setting of the server can be called.
var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*$`)

// classify returns the reason to refuse a parameter, "" for none, and whether to drop it.
func classify(name, value string) (reason string, drop bool) {
	folded := strings.ToLower(name)
	values, isIgnored := ignored[folded]
	instead, isRefused := refused[folded]
	switch {
	case isIgnored && (!isRefused || values.MatchString(strings.ToLower(value))):
		return "", true
	case isRefused:
		return instead.name + " (" + instead.advice + ")", false
	case known[folded] && name != folded: // pgx takes the right spelling
		return folded + " (write its name in lower case)", false
	case strings.HasPrefix(folded, "pool_"):
		return "one with the prefix pool_ (set the size of the pool by --database-max-connections)", false
	case !settingName.MatchString(name):
		return "one whose name cannot be a setting (quote the password, or percent-encode it in a URL)", false
	}
	return "", false
}

// Ignored returns the pattern of the values that may be printed, for each parameter that [Parse] drops.
func Ignored() map[string]*regexp.Regexp { return maps.Clone(ignored) }
