// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

const (
	// SecretSuffix makes a Secret's name from that of its user.
	SecretSuffix = "-password"
	// SecretKey is the key of the password in it.
	SecretKey = "password"

	// The API server takes names of 253 characters, and the Secret's is the longer one.
	maxName = 253 - len(SecretSuffix)
	maxStem = 40
)

var (
	subdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	derived   = regexp.MustCompile(`-x[0-9a-f]{10}$`)
	unnamable = regexp.MustCompile(`[^a-z0-9]+`)
)

// resourceName is the name of the resource for a username: the username itself where it can be one, or else what can be
// kept of it with a digest, as "Alice@Example.com" becomes "alice-example-com-x" and ten digits. It depends on nothing but
// the username, so that it is the same at every import; and since no username that looks like such a name keeps itself, two
// usernames get one name only where ten digits of their digests agree.
func resourceName(username string) string {
	if isName(username) && !derived.MatchString(username) {
		return username
	}
	stem := unnamable.ReplaceAllString(strings.ToLower(username), "-")
	stem = strings.Trim(stem[:min(len(stem), maxStem)], "-")
	digest := sha256.Sum256([]byte(username))
	return strings.TrimPrefix(stem+"-x"+hex.EncodeToString(digest[:5]), "-")
}

// isName tells whether a resource can be called so, and its Secret after it.
func isName(name string) bool { return len(name) <= maxName && subdomain.MatchString(name) }
