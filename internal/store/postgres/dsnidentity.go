// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

// dsnIdentity is what sentences may name of the DSNs.
//
// A password that is not percent-encoded or quoted correctly ends too early, and the rest of it is read as a host, a role or a
// parameter. So nothing is named of a DSN that could be read in another way.
type dsnIdentity struct {
	role, schema string   // "" where it is not named
	hosts        []string // empty where neither hosts nor their addresses are named
	serves       Role     // the purpose of the role, which is not in the DSN
}

// dsnIdentityOf returns the identity of the pool's DSN and of that for direct connections: an error does not say which one it is
// about.
func dsnIdentityOf(dsn, listenDSN DSNSource) dsnIdentity {
	var at dsnIdentity
	for _, source := range []DSNSource{listenDSN, dsn} { // role and schema are the pool's
		dsn, err := read(source)
		if err != nil || !unambiguous(dsn) {
			return dsnIdentity{}
		}
		config, err := understand(dsn)
		if err != nil {
			return dsnIdentity{}
		}
		pin(config.ConnConfig)
		hosts := hostsOf(config.ConnConfig)
		for _, name := range append(hosts, config.ConnConfig.User) {
			if !plain.MatchString(name) {
				return dsnIdentity{}
			}
		}
		at.role, at.schema = config.ConnConfig.User, firstSchema(config.ConnConfig.RuntimeParams["search_path"])
		if !plain.MatchString(at.schema) {
			at.schema = ""
		}
		at.hosts = append(at.hosts, hosts...)
	}
	return at
}

var (
	// plain matches usual names of hosts, sockets, roles and schemas.
	plain = regexp.MustCompile(`^[A-Za-z0-9._:/-]*$`)

	// plainURL has at most one '@', so that every parser ends the credentials at the same position.
	plainURL = regexp.MustCompile(`^postgres(ql)?://([^@/?#]*@)?[A-Za-z0-9._:,\[\]-]*(/[^@?#]*)?(\?[^@#]*)?$`)

	// pair matches the first keyword and its value.
	pair = regexp.MustCompile(`^([a-z_]+)\s*=\s*('([^'\\]|\\.)*'|([^\s'\\]|\\.)*)(\s+|$)`)
)

// unambiguous reports whether a DSN can be read in one way only.
func unambiguous(dsn string) bool {
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		_, parameters, _ := strings.Cut(dsn, "?")
		// The rest of a password among the parameters may look like one of them.
		return plainURL.MatchString(dsn) && !strings.Contains(parameters, "password")
	}
	seen := map[string]bool{}
	for dsn != "" {
		match := pair.FindStringSubmatch(dsn)
		if match == nil || seen[match[1]] {
			return false
		}
		seen[match[1]] = true
		dsn = dsn[len(match[0]):]
	}
	return true
}

// hostsOf are the hosts that are tried, or the directories of their sockets.
func hostsOf(config *pgx.ConnConfig) []string {
	hosts := []string{config.Host}
	for _, fallback := range config.Fallbacks {
		hosts = append(hosts, fallback.Host)
	}
	return hosts
}

// firstSchema is the first schema of a search_path.
func firstSchema(path string) string {
	first, _, _ := strings.Cut(path, ",")
	return strings.Trim(strings.TrimSpace(first), `"`)
}
