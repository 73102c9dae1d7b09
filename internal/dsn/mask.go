// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"maps"
	"regexp"
	"strings"
)

const (
	// Hidden is shown in place of a secret.
	Hidden = "***"

	// unreadable is shown for what Mask cannot take apart without doubt.
	unreadable = "*** (not shown, because it is not a valid DSN)"
)

// plainName is what a host, user, database or application is usually called.
// A value that is anything else may well be a piece of a password that was
// not quoted or percent-encoded as it should have been, and is not shown.
const plainName = `[A-Za-z0-9._-]+`

// harmless has the parameters that Mask shows, with the values it shows them
// for. It is an allow-list: what pgx or Postgres learn later stays Hidden
// until it is put here.
var harmless = withIgnored(map[string]*regexp.Regexp{
	"host":                       whole(`[A-Za-z0-9._,:/-]*`),
	"hostaddr":                   whole(`[0-9A-Fa-f.,:]*`),
	"port":                       whole(`[0-9]{0,5}(,[0-9]{0,5})*`),
	"user":                       whole(plainName),
	"dbname":                     whole(plainName),
	"database":                   whole(plainName),
	"application_name":           whole(plainName),
	"sslmode":                    whole(`disable|allow|prefer|require|verify-ca|verify-full`),
	"target_session_attrs":       whole(`any|read-write|read-only|primary|standby|prefer-standby`),
	"channel_binding":            whole(`disable|prefer|require`),
	"sslnegotiation":             whole(`postgres|direct`),
	"connect_timeout":            whole(`[0-9]{1,6}`),
	"default_query_exec_mode":    whole(`cache_statement|cache_describe|describe_exec|exec|simple_protocol`),
	"statement_cache_capacity":   whole(`[0-9]{1,6}`),
	"description_cache_capacity": whole(`[0-9]{1,6}`),
	"sslsni":                     whole(`[01]`),
	"sslcertmode":                whole(`disable|allow|require`),
	"min_protocol_version":       whole(`3\.[02]|latest`),
	"max_protocol_version":       whole(`3\.[02]|latest`),
	"require_auth":               whole(authMethod + `(,` + authMethod + `)*`),
})

const authMethod = `!?(password|md5|gss|sspi|scram-sha-256|none)`

// withIgnored adds the parameters that have no effect here.
func withIgnored(shown map[string]*regexp.Regexp) map[string]*regexp.Regexp {
	maps.Copy(shown, ignored)
	return shown
}

// named has further parameters that are common enough to be named, with their
// values hidden. The name of any other may be a piece of a password.
var named = map[string]bool{
	"password": true, "passfile": true, "options": true, "service": true, "servicefile": true,
	"sslcert": true, "sslkey": true, "sslpassword": true, "sslrootcert": true, "krbsrvname": true, "krbspn": true,
}

var urlHosts = whole(`((` + plainName + `|\[[0-9A-Fa-f:.]+\])?(:[0-9]{0,5})?)(,(` + plainName + `|\[[0-9A-Fa-f:.]+\])?(:[0-9]{0,5})?)*`)

func whole(pattern string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + pattern + `)$`) }

// Mask returns dsn in a form that may be printed: hosts, ports, user, database
// and a few parameters that cannot hold a secret as they are, everything else
// as ***. A text that is no DSN, or that can be read in more than one way,
// becomes a fixed text; the empty DSN stays empty.
//
// It follows pgx's way of reading a DSN, which is libpq's and not that of
// net/url: a password with an '@' or '/' that is not percent-encoded ends
// elsewhere for each of them.
func Mask(dsn string) string {
	dsn = strings.TrimSpace(dsn)
	if dsn == "" {
		return ""
	}
	mask := maskKeywords
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if strings.HasPrefix(dsn, scheme) {
			mask = maskURL
		}
	}
	if masked, ok := mask(dsn); ok {
		return masked
	}
	return unreadable
}

// maskURL masks scheme://user:password@host:port,host:port/database?key=value.
func maskURL(dsn string) (string, bool) {
	scheme, rest, _ := strings.Cut(dsn, "://")
	masked := scheme + "://"

	userinfo, afterAt, hasUser := strings.Cut(rest, "@")
	if hasUser {
		// A second '@', or one after a '/', '?' or '#', may belong to a
		// password: then nothing tells where the password ends.
		if strings.Contains(afterAt, "@") || strings.ContainsAny(userinfo, "/?#") {
			return "", false
		}
		user, _, hasPassword := strings.Cut(userinfo, ":")
		if user != "" {
			masked += shownOr("user", user)
		}
		if hasPassword {
			masked += ":" + Hidden
		}
		masked += "@"
		rest = afterAt
	}

	rest, query, _ := strings.Cut(rest, "?")
	hosts, database, hasDatabase := strings.Cut(rest, "/")
	if !urlHosts.MatchString(hosts) {
		return "", false
	}
	masked += hosts
	if hasDatabase {
		masked += "/"
		if database != "" {
			masked += shownOr("dbname", database)
		}
	}

	var pairs []string
	for pair := range strings.SplitSeq(query, "&") {
		if key, value, _ := strings.Cut(pair, "="); key != "" {
			pairs = append(pairs, maskPair(key, value))
		}
	}
	if len(pairs) > 0 {
		masked += "?" + strings.Join(pairs, "&")
	}
	return masked, true
}

// maskKeywords masks key=value pairs between spaces, where a value may be in
// single quotes and a backslash takes what follows it literally.
func maskKeywords(dsn string) (string, bool) {
	var pairs []string
	for dsn != "" {
		key, rest, found := strings.Cut(dsn, "=")
		key = strings.TrimSpace(key)
		if !found || key == "" || strings.ContainsAny(key, spaces) {
			return "", false
		}
		value, rest, ok := cutValue(strings.TrimLeft(rest, spaces))
		if !ok {
			return "", false
		}
		pairs = append(pairs, maskPair(key, value))
		dsn = strings.TrimLeft(rest, spaces)
	}
	return strings.Join(pairs, " "), true
}

const spaces = " \t\n\r\v\f"

// cutValue splits off the value at the start of s and resolves its quotes and
// backslashes.
func cutValue(s string) (value, rest string, ok bool) {
	quoted := strings.HasPrefix(s, "'")
	ends := spaces
	if quoted {
		s, ends = s[1:], "'"
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case strings.IndexByte(ends, s[i]) >= 0:
			return b.String(), s[i+1:], true
		case s[i] == '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), "", !quoted
}

func maskPair(key, value string) string {
	if _, ok := harmless[key]; ok {
		return key + "=" + shownOr(key, value)
	}
	if named[key] {
		return key + "=" + Hidden
	}
	return Hidden
}

// shownOr returns value where it is harmless as the parameter key, or ***.
func shownOr(key, value string) string {
	if harmless[key].MatchString(value) {
		return value
	}
	return Hidden
}
