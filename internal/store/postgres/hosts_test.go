// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"net/url"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// As when the machine of a primary is powered off, and Postgres is on the other one.
func TestAHostThatDoesNotAnswerIsSkipped(t *testing.T) {
	t.Parallel()
	for name, parameters := range map[string]string{"by default": "", "with a longer connect_timeout": "&connect_timeout=4"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := databaseWithSchema(t)
			first, _ := testenv.DatabaseProxy(t, dsn)
			second, _ := testenv.DatabaseProxy(t, dsn)
			s := ready(t, Settings{DSN: fixed(withHost(t, dsn, first.Addr()+","+second.Addr()) + parameters)})
			watch(t, s)
			eventually(t, "it listens", func() bool { return s.Health().Notified && s.Health().Current })
			began := time.Now()
			first.Stall()
			eventually(t, "the other host serves", func() bool {
				_, err := s.Charge(t.Context(), attempt("alice"), usual)
				return err == nil && s.Health().Up() && !s.Health().Unavailable
			})
			t.Logf("the other host serves after %v", time.Since(began).Round(time.Millisecond))
			if _, err := s.lookDirectly(t.Context(), lookAtLogins); err != nil {
				t.Errorf("a check by a connection of its own: %v", err)
			}
			if s.locateOne(t.Context(), s.settings.DSN) == nil {
				t.Error("the server is not located")
			}
			eventually(t, "it listens again", func() bool { return s.Health().Notified && s.Health().Current })
			t.Logf("it listens again after %v", time.Since(began).Round(time.Millisecond))
		})
	}
}

// withHost returns the DSN, a URL, with other hosts.
func withHost(t *testing.T, dsn, hosts string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = hosts
	return u.String()
}
