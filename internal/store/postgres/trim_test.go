// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// fill records attempts as charges do, hours old.
func fill(t *testing.T, pool *pgxpool.Pool, outcome store.Outcome, n int) {
	t.Helper()
	run(t, pool, `INSERT INTO login_attempts (attempted_at, username, outcome, source, user_agent, attempt_key)
		SELECT now() - INTERVAL '1 day' - n * INTERVAL '1 second', 'hmac:' || substr(md5(n::text), 1, 12), $1,
		       '192.0.2.' || n % 256, 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', substr(md5(n::text), 1, 26)
		FROM generate_series(1, $2::int) n`, string(outcome), n)
}

func TestTheEstimatedSizeIsThatOfTheTable(t *testing.T) {
	t.Parallel()
	for name, rows := range map[string]int{"of a small table": 2000, "of one of which a sample is read": 60_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := databaseWithSchema(t)
			s := ready(t, quick(dsn))
			pool := connect(t, dsn)
			fill(t, pool, store.RefusedUnknown, rows)
			size, err := s.TrailSize(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			actual := value[int64](t, pool, "SELECT pg_total_relation_size('login_attempts')")
			t.Logf("%d rows of %d, %d bytes of %d", size[store.RefusedUnknown].Rows, rows, size.Bytes(), actual)
			if ratio := float64(size.Bytes()) / float64(actual); ratio < 0.7 || ratio > 1.3 {
				t.Errorf("the estimate is %.2f of the table's size", ratio)
			}
			run(t, pool, "DELETE FROM login_attempts")
			if size, err = s.TrailSize(t.Context()); err != nil || size.Bytes() != 0 {
				t.Errorf("an empty table has %d bytes, %v", size.Bytes(), err)
			}
		})
	}
}

func TestTrimmingSparesLocksAndWhatIsPending(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, insertActive, "alice")
	for range 5 {
		charge(t, s, "alice") // none is settled; the last one locks
	}
	fill(t, pool, store.Pending, 3)
	if n, err := s.TrimAttempts(t.Context(), store.Pending, 100); err != nil || n != 3 {
		t.Errorf("%d attempts were deleted, %v; want 3", n, err)
	}
	run(t, pool, "UPDATE login_attempts SET outcome = 'failed'")
	if n, err := s.TrimAttempts(t.Context(), store.Failed, 100); err != nil || n != 4 {
		t.Errorf("%d attempts were deleted, %v; want 4, and not the one that wrote the lock", n, err)
	}
}

func TestTheLoginRoleMayTrimTheAuditTrail(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	controller, login := testenv.TwoRoles(t, admin)
	p := openPair(t, controller, login, nil)
	fill(t, connect(t, admin), store.Outcome(store.Unknown), 100)
	if size, err := p.login.TrailSize(t.Context()); err != nil || size.Bytes() == 0 {
		t.Errorf("the size is %d, %v", size.Bytes(), err)
	}
	if n, err := p.login.TrimAttempts(t.Context(), store.Outcome(store.Unknown), 50); err != nil || n != 50 {
		t.Errorf("trimmed %d, %v", n, err)
	}
}
