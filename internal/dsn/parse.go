// SPDX-License-Identifier: Apache-2.0

// Package dsn reads a Postgres DSN from a file or the environment, parses and masks it, in the same way for the manager, the
// plugin and the store. Its errors hold no part of a DSN.
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
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Parse returns the configuration of a pool for dsn. The pool's parser serves for single connections too, since it removes
// the parameters of pools (pool_max_conns), which the server would refuse. Certificates and keys that the DSN names must be
// readable.
//
// The error says what a DSN looks like. It is a [RefusedError] if the DSN has parameters that cannot be used.
func Parse(dsn string) (*pgxpool.Config, error) {
	// pgx would read a DSN of another scheme as keywords, and perhaps accept it.
	scheme, _, isURL := strings.Cut(dsn, "://")
	if isURL && !strings.ContainsAny(scheme, "= ") && scheme != "postgres" && scheme != "postgresql" {
		return nil, invalid("a URL must start with postgres:// or postgresql://")
	}
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, invalid(reasonOf(err))
	}
	if err := clean(config.ConnConfig.RuntimeParams); err != nil {
		return nil, fmt.Errorf("invalid Postgres DSN: %w", err)
	}
	return config, nil
}

const (
	exampleURL      = "postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=require" //nolint:gosec // An example, no credential.
	exampleKeywords = "host=HOST port=5432 user=USER dbname=DATABASE sslmode=require"
)

func invalid(reason string) error {
	return errors.New("invalid Postgres DSN (" + reason + "): use the form " + exampleURL + " or " + exampleKeywords)
}

// reasonOf returns what is wrong with a DSN, in words of our own: pgx's errors quote the DSN.
func reasonOf(err error) string {
	for _, says := range pgxSays {
		if strings.Contains(err.Error(), says.needle) {
			return says.text
		}
	}
	return "it is neither a URL nor in keyword form"
}

// The first needle that occurs in pgx's error counts. One that occurs in the quoted DSN by chance makes a worse message, never
// a leak.
var pgxSays = []struct{ needle, text string }{
	{"sslmode is invalid", "sslmode must be disable, allow, prefer, require, verify-ca or verify-full"},
	{"invalid port", "a port must be a number from 1 to 65535, and a ':', '/', '@', '?' or '%' in a URL's password must be percent-encoded"},
	{"could not match", "with several hosts, set one port, or one port per host"},
	{"unknown target_session_attrs", "target_session_attrs must be any, read-write, read-only, primary, standby or prefer-standby"},
	{"unknown channel_binding", "channel_binding must be disable, prefer or require"},
	{"invalid sslcertmode", "sslcertmode must be disable, allow or require"},
	{"invalid require_auth", "require_auth must be a list of password, md5, scram-sha-256 and none"},
	{"min_protocol_version", "min_protocol_version and max_protocol_version must be 3.0, 3.2 or latest, in that order"},
	{"max_protocol_version", "min_protocol_version and max_protocol_version must be 3.0, 3.2 or latest, in that order"},
	{"invalid default_query_exec_mode", "default_query_exec_mode must be cache_statement, cache_describe, describe_exec, exec or simple_protocol"},
	{"invalid connect_timeout", "connect_timeout must be a number of seconds"},
	{"failed to configure TLS", "the certificate or key files cannot be read or used"},
	{"failed to read service", "the service cannot be found"},
	{"pool_", "the pool_ parameters must be numbers and durations; use the --database-... flags instead"},
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
