// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// unrecorded returns a change's statement without the steps that record it.
func unrecorded(b *testing.B, statement string) string {
	b.Helper()
	for _, step := range []string{lockedBefore(lockForUpdate), changedWritten} {
		if strings.Count(statement, step) != 1 {
			b.Fatal("the statement has no such step")
		}
		statement = strings.Replace(statement, step, "", 1)
	}
	statement = strings.NewReplacer("FROM before f", "FROM fence f", recordOfChange, noRecord).Replace(statement)
	if strings.Contains(statement, "account_changes") {
		b.Fatal("the statement still records the change")
	}
	return statement
}

// BenchmarkTheRecordOfAChange measures what the record costs a change of roles: all that the database does for a change, which is an
// observation, the statement and the read-back. Statements with the record and without it take turns.
func BenchmarkTheRecordOfAChange(b *testing.B) {
	dsn := testenv.Database(b)
	s, err := Open(quick(dsn))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	if _, err := s.Apply(b.Context(), creation("alice")); err != nil {
		b.Fatal(err)
	}
	var with, without []time.Duration
	one := func(isRecorded bool, i int) time.Duration {
		began := time.Now()
		o, err := s.Observe(b.Context(), "alice")
		if err != nil {
			b.Fatal(err)
		}
		change := creation("alice")
		change.Verb, change.Revision, change.Generation = user.Update, o.Ownership.Revision, o.Ownership.Generation+1
		change.Roles, change.Write = []string{"operator", strings.Repeat("a", 1+i%50)}, []user.Field{user.FieldRoles}
		statement, err := statementFor(change)
		if err != nil {
			b.Fatal(err)
		}
		if !isRecorded {
			statement = unrecorded(b, statement)
		}
		args, err := s.arguments(change)
		if err != nil {
			b.Fatal(err)
		}
		conn, err := s.pool.Acquire(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Release()
		if _, err := conn.Exec(b.Context(), statement, args); err != nil {
			b.Fatal(err)
		}
		if _, err := snapshotOn(b.Context(), s.on(conn.Conn()), []string{"alice"}, nil); err != nil {
			b.Fatal(err)
		}
		return time.Since(began)
	}
	for i := 0; b.Loop(); i++ {
		with, without = append(with, one(true, i)), append(without, one(false, i))
	}
	slices.Sort(with)
	slices.Sort(without)
	w, wo := with[len(with)/2], without[len(without)/2]
	b.ReportMetric(float64(w.Microseconds()), "µs/recorded")
	b.ReportMetric(float64(wo.Microseconds()), "µs/unrecorded")
	b.ReportMetric(float64(w)/float64(wo), "ratio")
}
