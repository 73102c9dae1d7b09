// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

func TestADatabaseIsFreshUntilThereIsARowOrWasANote(t *testing.T) {
	t.Parallel()
	const insert = "INSERT INTO users (username, password_hash) VALUES ('alice', '!')"
	apply := func(t *testing.T, s *Store, verb user.Verb, revision int64) {
		t.Helper()
		change := creation("alice")
		change.Verb, change.Revision = verb, revision
		if _, err := s.Apply(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		prepare string // by another program, before the store comes
		use     func(t *testing.T, s *Store, admin string)
		want    bool
	}{
		"nothing was done":                    {want: true},
		"another program made the table":      {prepare: plainTable, want: true},
		"the table has another program's row": {prepare: plainTable + ";" + insert},
		"another program's row came later":    {use: func(t *testing.T, _ *Store, admin string) { t.Helper(); run(t, connect(t, admin), insert) }},
		"another program's only row went":     {prepare: plainTable + ";" + insert + "; DELETE FROM users", want: true},
		"a row is ours":                       {use: func(t *testing.T, s *Store, _ string) { t.Helper(); apply(t, s, user.Create, 0) }},
		"the only row ever and its ownership record went": {use: func(t *testing.T, s *Store, admin string) {
			t.Helper()
			apply(t, s, user.Create, 0)
			apply(t, s, user.Delete, 1)
			run(t, connect(t, admin), "DELETE FROM shardinguser_ownership")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admin := testenv.Database(t)
			if tt.prepare != "" {
				run(t, connect(t, admin), tt.prepare)
			}
			s := ready(t, quick(admin))
			if tt.use != nil {
				tt.use(t, s, admin)
			}
			if fresh, err := s.Fresh(t.Context()); err != nil || fresh != tt.want {
				t.Errorf("Fresh = %v, %v, want %v", fresh, err, tt.want)
			}
		})
	}
}

func TestADatabaseWhoseRecordsCannotBeCountedIsNotFresh(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	ready(t, quick(admin))
	dsn := testenv.Role(t, admin)
	role, _ := names(t, dsn)
	run(t, connect(t, admin), "GRANT SELECT ON shardinguser_migrations TO "+role)
	run(t, connect(t, admin), "GRANT SELECT, INSERT, UPDATE, DELETE ON users, shardinguser_ownership, login_attempts, account_changes, shardinguser_merges, shardinguser_familiar TO "+role)
	s := ready(t, quick(dsn))
	if fresh, err := s.Fresh(t.Context()); err != nil || fresh {
		t.Errorf("Fresh = %v, %v, want false", fresh, err)
	}
	run(t, connect(t, admin), "GRANT SELECT ON SEQUENCE shardinguser_ownership_revision_seq TO "+role)
	if fresh, err := s.Fresh(t.Context()); err != nil || !fresh {
		t.Errorf("with the right: Fresh = %v, %v, want true", fresh, err)
	}
}

func TestADatabaseThatDoesNotAnswerIsNeitherFreshNorUsed(t *testing.T) {
	t.Parallel()
	_, err := open(t, quick(testenv.Database(t))).Fresh(t.Context())
	expectUnavailable(t, err, "The operator's tables do not exist yet")
}
