// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

func TestWallTimeOfALock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		until, changed time.Duration // from now
		want           time.Duration
	}{
		"a lock of the sharding manager in UTC": {14 * time.Minute, -time.Minute, 0},
		"its clock is off by seconds":           {14*time.Minute + 3*time.Second, -time.Minute, 0},
		"Tokyo":                                 {9*time.Hour + 14*time.Minute, -time.Minute, 9 * time.Hour},
		"Tokyo, with another second":            {9*time.Hour + 14*time.Minute + time.Second, -time.Minute, 9 * time.Hour},
		"Los Angeles, an hour ago":              {-8*time.Hour - 45*time.Minute, -time.Hour, -8 * time.Hour},
		"St. John's":                            {-3*time.Hour - 15*time.Minute, 0, -210 * time.Minute},
		"Delhi":                                 {5*time.Hour + 45*time.Minute, 0, 330 * time.Minute},
		"the farthest zone, and one that no zone is": {14*time.Hour + 15*time.Minute, 0, 14 * time.Hour},
		"a day by hand":        {24 * time.Hour, 0, 0},
		"an hour by hand":      {time.Hour, 0, 0},
		"half an hour by hand": {30 * time.Minute, 0, 0},
		"a lock of another program, on a row from before": {15 * time.Minute, -77 * time.Minute, 0},
		"both are Tokyo's wall time":                      {9*time.Hour + 15*time.Minute, 9 * time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := lock{now: now, until: now.Add(tt.until), changed: new(now.Add(tt.changed))}
			if got := l.wallTime(); got != tt.want {
				t.Errorf("wallTime = %v, want %v", got, tt.want)
			}
		})
	}
	if got := (lock{now: now, until: now.Add(9*time.Hour + 15*time.Minute)}).wallTime(); got != 0 {
		t.Errorf("where it is not known when the row changed, wallTime = %v", got)
	}
}

func TestOffsetsAreWrittenAsPeopleDo(t *testing.T) {
	t.Parallel()
	for zone, want := range map[time.Duration]string{
		9 * time.Hour: "UTC+9", -8 * time.Hour: "UTC-8", 330 * time.Minute: "UTC+5:30", -210 * time.Minute: "UTC-3:30",
		30 * time.Minute: "UTC+0:30", -30 * time.Minute: "UTC-0:30",
	} {
		if got := offset(zone); got != want {
			t.Errorf("offset(%v) = %s, want %s", zone, got, want)
		}
	}
}

// times is what inspectTimes finds, as "kind object".
func times(t *testing.T, s *Store) (found []string, consequences string) {
	t.Helper()
	findings, err := s.inspectTimes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if !slices.Contains(store.FindingKinds(), f.Kind) || strings.ContainsAny(f.Consequence, "\n") || !strings.HasSuffix(f.Consequence, ".") {
			t.Errorf("%+v is not a finding of a known kind in one line", f)
		}
		found = append(found, f.Kind+" "+f.Object)
		consequences += f.Consequence
	}
	return found, consequences
}

func TestInspectionFindsLocksThatLieHoursOff(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		sql, want, says string
		redacted        bool // the role may not read when a row was changed
	}{
		"none":              {},
		"of UTC":            {sql: `UPDATE users SET updated_at = now(), locked_until = now() + interval '15 minutes'`},
		"of Tokyo":          {sql: `UPDATE users SET updated_at = now(), locked_until = now() + interval '9 hours 15 minutes'`, want: `lock-time-zone "locked_until"`, says: "UTC+9 "},
		"of Los Angeles":    {sql: `UPDATE users SET updated_at = now(), locked_until = now() - interval '7 hours 45 minutes'`, want: `lock-time-zone "locked_until"`, says: "keeps nobody out"},
		"of a day, by hand": {sql: `UPDATE users SET locked_until = now() + interval '1 day'`, want: `long-lock "locked_until"`, says: "TZ=UTC"},
		"for ever":          {sql: `UPDATE users SET locked_until = 'infinity'`},
		"of Tokyo, where less is readable": {
			sql:      `UPDATE users SET updated_at = now(), locked_until = now() + interval '9 hours 15 minutes'`,
			want:     `long-lock "locked_until"`,
			redacted: true,
		},
		"that the login API wrote": {sql: `UPDATE users SET updated_at = now(), locked_until = now() + interval '9 hours 15 minutes';
			INSERT INTO login_attempts (attempted_at, username, source, user_agent, outcome, locked_until)
			SELECT now(), username, '', '', 'failed', locked_until FROM users`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := databaseWithSchema(t)
			run(t, connect(t, dsn), `INSERT INTO users (username, password_hash) VALUES ('alice', '!'); `+tt.sql)
			s := quick(dsn)
			if tt.redacted {
				controller, _ := testenv.TwoRoles(t, dsn)
				s.DSN, s.Role = fixed(controller), RoleController
			}
			found, said := times(t, open(t, s))
			if strings.Join(found, ", ") != tt.want || !strings.Contains(said, tt.says) {
				t.Errorf("found %q: %s", found, said)
			}
		})
	}
}

func TestInspectionFindsTheZoneOfTheServer(t *testing.T) {
	t.Parallel()
	server, err := testenv.StartPostgres(t.Context(), "timezone=Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	dsn, err := server.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := quick(dsn)
	s.InspectInterval = 100 * time.Millisecond
	store := ready(t, s)
	_, database := names(t, dsn)
	role := value[string](t, connect(t, dsn), "SELECT CURRENT_USER::text")
	eventually(t, "the zone is found", func() bool {
		found := store.Health().Findings
		return len(found) == 1 && found[0].Object == role && strings.Contains(found[0].Consequence, "the time zone Asia/Tokyo")
	})
	run(t, connect(t, dsn), "ALTER DATABASE "+database+" SET timezone TO 'UTC'")
	eventually(t, "the zone of the database is another one", func() bool { return len(store.Health().Findings) == 0 })
}

func TestInspectionFindsZonesOfOthersSessions(t *testing.T) {
	t.Parallel()
	const utcOfRole = `ALTER ROLE $role SET timezone TO 'UTC'; `
	for name, tt := range map[string]struct {
		sql  string
		zone string // of the role's sessions; "" for UTC
	}{
		"none is set":                       {sql: `SELECT`},
		"of the database":                   {sql: `ALTER DATABASE $database SET timezone TO 'Asia/Tokyo'`, zone: "Asia/Tokyo"},
		"of the role":                       {sql: `ALTER ROLE $role SET timezone TO 'Europe/Berlin'`, zone: "Europe/Berlin"},
		"of the role in this database":      {sql: utcOfRole + `ALTER ROLE $role IN DATABASE $database SET timezone TO 'Europe/Berlin'`, zone: "Europe/Berlin"},
		"of the role, over the database's":  {sql: utcOfRole + `ALTER DATABASE $database SET timezone TO 'Asia/Tokyo'`},
		"of a member of the owner":          {sql: `ALTER DATABASE $database SET timezone TO 'Asia/Tokyo'; ALTER TABLE users OWNER TO $other; GRANT $other TO $role`, zone: "Asia/Tokyo"},
		"UTC by another of its names":       {sql: `ALTER ROLE $role SET timezone TO 'etc/utc'`},
		"where the columns have a zone":     {sql: `ALTER DATABASE $database SET timezone TO 'Asia/Tokyo'; ALTER TABLE users ALTER last_login_at TYPE timestamptz`},
		"of a role that may write no table": {sql: `ALTER ROLE $role SET timezone TO 'Asia/Tokyo'; ALTER TABLE users OWNER TO CURRENT_USER`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := databaseWithSchema(t)
			_, database := names(t, dsn)
			role, _ := names(t, testenv.Role(t, dsn))
			other, _ := names(t, testenv.Role(t, dsn))
			pool := connect(t, dsn)
			run(t, pool, "ALTER TABLE users OWNER TO "+role)
			run(t, pool, strings.NewReplacer("$database", database, "$role", role, "$other", other).Replace(tt.sql))
			found, said := times(t, open(t, quick(dsn)))
			want := "session-time-zone " + role
			if (tt.zone != "") != slices.Contains(found, want) || !strings.Contains(said, tt.zone) {
				t.Errorf("it finds %q: %s", found, said)
			}
		})
	}
}

func TestInspectTableFindsRolesThatCannotStartAManager(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		sql  string
		says []string // nothing is found where it is empty
	}{
		"no other role":                     {},
		"one that reads":                    {sql: `GRANT SELECT ON users TO $role`},
		"one that may not log in":           {sql: `GRANT UPDATE ON users TO $role; ALTER ROLE $role NOLOGIN`},
		"one that writes some columns":      {sql: `GRANT UPDATE (failed_login_attempts) ON users TO $role`},
		"one that owns the table":           {sql: `ALTER TABLE users OWNER TO $role; GRANT CREATE ON SCHEMA public TO $role`},
		"one that is a member of the owner": {sql: `GRANT UPDATE ON users TO $role; ALTER TABLE users OWNER TO $other; GRANT $other TO $role; GRANT CREATE ON SCHEMA public TO $other; ALTER ROLE $other NOLOGIN`},
		"one that writes": {
			sql:  `GRANT SELECT, UPDATE ON users TO $role`,
			says: []string{"does not own the table and may not create objects", "ALTER TABLE users OWNER TO $role", "GRANT CREATE ON SCHEMA public TO $role"},
		},
		"one that writes, and may create": {
			sql:  `GRANT SELECT, UPDATE ON users TO $role; GRANT CREATE ON SCHEMA public TO $role; ALTER TABLE users OWNER TO $other; ALTER ROLE $other NOLOGIN`,
			says: []string{"does not own the table. ", "GRANT $other TO $role"},
		},
		"a member of one that writes": {
			sql:  `GRANT UPDATE ON users TO $other; GRANT $other TO $role; ALTER ROLE $other NOLOGIN`,
			says: []string{"does not own the table and may not create objects", "GRANT CREATE ON SCHEMA public TO $role"},
		},
		"a member of the owner, in a closed schema": {
			sql:  `ALTER TABLE users OWNER TO $other; GRANT $other TO $role; GRANT UPDATE ON users TO $role; ALTER ROLE $other NOLOGIN`,
			says: []string{"and may not create objects in its schema. "},
		},
		"the owner, in a closed schema": {
			sql:  `ALTER TABLE users OWNER TO $role`,
			says: []string{"may not create objects in its schema. ", "GRANT CREATE ON SCHEMA public TO $role"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := databaseWithSchema(t)
			role, _ := names(t, testenv.Role(t, dsn))
			other, _ := names(t, testenv.Role(t, dsn))
			filled := strings.NewReplacer("$role", role, "$other", other)
			run(t, connect(t, dsn), "SELECT; "+filled.Replace(tt.sql))
			found := ofKind(t, open(t, quick(dsn)), store.FindingManagerRights)
			if len(tt.says) == 0 {
				if len(found) > 0 {
					t.Errorf("it finds %v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Object != role {
				t.Fatalf("it finds %v", found)
			}
			for _, want := range tt.says {
				if !strings.Contains(found[0].Consequence, filled.Replace(want)) {
					t.Errorf("%s is not in %s", filled.Replace(want), found[0].Consequence)
				}
			}
		})
	}
}
