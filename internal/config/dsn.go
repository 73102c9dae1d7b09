// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"

	pgdsn "github.com/sharding-system/shardinguser-operator/internal/dsn"
)

// A DSN says where a database is and how to log in there, as a URL or in
// keyword form. However it is printed or encoded, its secrets are masked, see
// [Mask]; string(dsn) is the DSN itself.
type DSN string

// String returns the DSN masked.
func (d DSN) String() string { return Mask(string(d)) }

// Format writes the DSN masked, whatever the verb: %x and %d would show it.
func (d DSN) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, d.String()) }

// MarshalText returns the DSN masked, for encoders of logs and settings.
func (d DSN) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// envDSN is the one environment variable without the program's prefix: the
// sharding system's own programs read it too.
const envDSN = "USER_DATABASE_DSN"

// ReadDSNFile returns the DSN that the file at path holds, less the white space
// around it. It is an error when the file cannot be read, is empty or holds no
// DSN that pgx understands. The error quotes nothing of the file.
func ReadDSNFile(path string) (DSN, error) {
	// A DSN given where its file's path belongs would be quoted by every
	// error that names the file.
	if looksSecret(path) {
		return "", errors.New("the value is a DSN; set the path of a file that contains it")
	}
	b, err := os.ReadFile(path) //nolint:gosec // The path is the operator's own setting.
	if err != nil {
		return "", fmt.Errorf("cannot read the DSN file %s: %w", path, cause(err))
	}
	dsn := strings.TrimSpace(string(b))
	if dsn == "" {
		return "", fmt.Errorf("the DSN file %s is empty: write a DSN such as %s into it", path, exampleURL)
	}
	if err := checkDSN(dsn); err != nil {
		return "", fmt.Errorf("the DSN file %s: %w", path, err)
	}
	return DSN(dsn), nil
}

// FindDSN returns the DSN of a program beside the manager: that of the file at
// path or, where path is empty, of USER_DATABASE_DSN. It is empty where there is
// neither. Its errors are [ReadDSNFile]'s.
func FindDSN(path string) (DSN, error) {
	if path != "" {
		return ReadDSNFile(path)
	}
	dsn := strings.TrimSpace(os.Getenv(envDSN))
	if dsn == "" {
		return "", nil
	}
	if err := checkDSN(dsn); err != nil {
		return "", fmt.Errorf("environment variable %s: %w", envDSN, err)
	}
	return DSN(dsn), nil
}

// cause is what is wrong with a file, without the path that the error names
// already.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

const (
	exampleURL      = "postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=require" //nolint:gosec // An example, no credential.
	exampleKeywords = "host=HOST port=5432 user=USER password='PASSWORD' dbname=DATABASE sslmode=require"
)

// pgxSays turns what pgx finds wrong into texts of our own. pgx's errors quote
// the DSN, with its secrets masked as well as may be, and so are never shown.
// The first that fits counts: a needle that occurs in the quoted DSN by chance
// makes a worse message, never a leak.
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

// checkDSN tells whether pgx understands dsn. Certificates and keys that it
// names must be readable. The error says what a DSN looks like and holds no
// part of dsn.
func checkDSN(dsn string) error {
	wrong := "it is neither a URL nor in keyword form"
	// What has another scheme would be read as keywords, and perhaps pass.
	scheme, _, isURL := strings.Cut(dsn, "://")
	if isURL && !strings.ContainsAny(scheme, "= ") && scheme != "postgres" && scheme != "postgresql" {
		wrong = "a URL must start with postgres:// or postgresql://"
	} else {
		_, err := pgdsn.Parse(dsn)
		var refused *pgdsn.RefusedError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &refused):
			return fmt.Errorf("invalid Postgres DSN: %w", refused)
		}
		for _, says := range pgxSays {
			if strings.Contains(err.Error(), says.needle) {
				wrong = says.text
				break
			}
		}
	}
	return fmt.Errorf("invalid Postgres DSN (%s): use the form %s or %s", wrong, exampleURL, exampleKeywords)
}

var secretLike = regexp.MustCompile(`(?i)://|password\s*=`)

// looksSecret tells whether value may be a DSN, and so is not to be quoted:
// somebody gave it where a path or the like belongs.
func looksSecret(value string) bool { return secretLike.MatchString(value) }
