// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// A password shows in no sentence, wherever in a DSN it stands and whatever of it the driver takes for a host, a role or a
// schema.
func FuzzDSNIdentity(f *testing.F) {
	const canary = "c4nary"
	for _, s := range []string{"", "a", "x@y/", "12/", "1?", "&", "&host=", "'", `\`, " user=", " search_path=", "=", "#", ",h:", "%2F", "@%2e", "\x00", "?"} {
		f.Add(s, s)
		f.Add(s, "")
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.Contains(before+after, canary) {
			return
		}
		password := before + canary + after
		quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password)
		dsns := []string{
			"postgres://alice:" + password + "@db:5432/users?sslmode=disable",
			"postgres://alice:" + password + "@db:5432/users",
			"host=db sslmode=disable password='" + quoted + "' user=alice",
			"password = '" + quoted + "'",
		}
		if !strings.Contains(before, "&") { // which begins the next parameter
			dsns = append(dsns, "postgres://alice@db/users?password="+password)
		}
		for _, dsn := range dsns {
			for _, at := range []dsnIdentity{dsnIdentityOf(fixed(dsn), fixed("host=h")), dsnIdentityOf(fixed("host=h"), fixed(dsn)), dsnIdentityOf(fixed(dsn), fixed(dsn))} {
				for _, sentence := range sentences(dsn, at) {
					if strings.Contains(sentence, canary) {
						t.Fatalf("of %q it says: %s", dsn, sentence)
					}
				}
			}
		}
	})
}

// sentences are all that may name something of a DSN, about failures that can follow from it.
func sentences(dsn string, at dsnIdentity) (sentences []string) {
	failures := []error{
		&pgconn.PgError{Code: "42501", Message: "permission denied for schema"},
		&pgconn.PgError{Code: "42501", Message: "permission denied for table users"},
		&pgconn.PgError{Code: "42501"},
		&pgconn.PgError{Code: "08P01", Message: "unsupported startup parameter: search_path"},
	}
	config, err := understand(dsn)
	if err != nil {
		var unavailable *store.UnavailableError
		if !errors.As(err, &unavailable) {
			return []string{err.Error()}
		}
		failures = append(failures, err)
		sentences = append(sentences, unavailable.Error())
	} else {
		for _, host := range hostsOf(config.ConnConfig) {
			failures = append(failures,
				&net.DNSError{Name: host, IsNotFound: true},
				&net.OpError{Op: "dial", Addr: &net.UnixAddr{Name: host}, Err: syscall.ECONNREFUSED},
				&net.OpError{Op: "dial", Addr: &net.UnixAddr{Name: host}, Err: syscall.ENOENT},
				&net.OpError{Op: "dial", Addr: &net.UnixAddr{Name: host}, Err: syscall.ENETUNREACH})
		}
	}
	for _, failure := range failures {
		sentences = append(sentences, classify(failure, at, time.Second).sentence)
	}
	return append(sentences, missingCreate(at.schema, at.role), fmt.Sprintf("%+v", at))
}
