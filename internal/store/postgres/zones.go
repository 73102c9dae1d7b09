// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/findings"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
)

// The columns have no zone, and hold UTC. Another program stores the wall time of its own zone instead: the sharding manager writes
// a lock by the zone of its process, and the other times by the zone of its session.

// readZones lists the roles that own the table users or may write all of it, themselves or as members of another role, the time zone that
// their new sessions get, as far as role or database set it, and the name of the database. There are none where the columns have a zone.
const readZones = `WITH t AS (SELECT c.* FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass('` + schema.Users + `')::oid)
SELECT DISTINCT pg_catalog.quote_ident(r.rolname), COALESCE((
    SELECT pg_catalog.split_part(c.setting, '=', 2) FROM pg_catalog.pg_db_role_setting s CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) c (setting)
    WHERE pg_catalog.lower(pg_catalog.split_part(c.setting, '=', 1)) = 'timezone'::text
      AND s.setdatabase IN (0::oid, d.oid) AND s.setrole IN (0::oid, r.oid)
    ORDER BY s.setrole = 0::oid, s.setdatabase = 0::oid LIMIT 1), ''), pg_catalog.quote_ident(d.datname)
` + findings.FromGrantees + `
JOIN pg_catalog.pg_roles r ON r.rolcanlogin AND (r.oid = g.id OR NOT r.rolsuper AND pg_catalog.pg_has_role(r.oid, g.id, 'USAGE'))
JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
WHERE EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.oid AND a.attname = 'last_login_at'::pg_catalog.name
    AND a.atttypid = 'pg_catalog.timestamp'::regtype::oid)
ORDER BY 1`

// utc are the names of UTC, in lower case.
var utc = []string{
	"utc", "etc/utc", "gmt", "etc/gmt", "uct", "etc/uct", "zulu", "etc/zulu", "universal", "etc/universal", "greenwich", "etc/greenwich", "utc0", "gmt0", "0",
}

func isUTC(zone string) bool { return slices.Contains(utc, strings.ToLower(zone)) }

// describeZones finds time zones of other programs, which do not pin theirs. If neither role nor database sets one, it is that of
// the server; "" where that is not known.
func describeZones(roles []roleZone, server string) (found []store.Finding) {
	for _, role := range roles {
		zone := cmp.Or(role.zone, server)
		if zone == "" || isUTC(zone) {
			continue
		}
		found = append(found, store.Finding{
			Kind: store.FindingSessionZone, Object: role.name,
			Consequence: fmt.Sprintf("Sessions of the role get the time zone %s, and the columns have none: a time that another program stores by "+
				"CURRENT_TIMESTAMP, such as last_login_at, is off by its distance to UTC; run ALTER ROLE %s IN DATABASE %s SET timezone TO 'UTC', and "+
				"restart the programs that connect by it.", zone, role.name, role.database),
		})
	}
	return found
}

// roleZone is a role with the time zone that it or the database sets, "" where they do not.
type roleZone struct{ name, zone, database string }

// serverZone returns the time zone that the server gives to sessions that ask for none, and which neither the role nor the database
// sets. It is a question of its own: each session of the pool asks for UTC.
func (s *Store) serverZone(ctx context.Context) (zone string, err error) {
	config, err := connConfig(s.settings.DSN)
	if err != nil {
		return "", err
	}
	delete(config.RuntimeParams, "timezone")
	connection, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return "", err
	}
	defer hangUp(ctx, connection)
	var source string
	err = connection.QueryRow(ctx, `SELECT s.setting, s.source FROM pg_catalog.pg_settings s
		WHERE s.name OPERATOR(pg_catalog.=) 'TimeZone'::pg_catalog.text`, pgx.QueryExecModeSimpleProtocol).Scan(&zone, &source)
	if source == "database" || source == "user" || source == "database user" {
		return "", err // the catalog has the zone of the database, and the role is not another program's
	}
	return zone, err
}

// readLocks reads the latest locks that the login API did not write, with when the row was changed last. Not every role may read that.
const readLocks = `SELECT pg_catalog.clock_timestamp(), u.locked_until::timestamptz, %s
FROM users u
WHERE u.locked_until IS NOT NULL AND pg_catalog.isfinite(u.locked_until::timestamptz)
  AND NOT EXISTS (SELECT FROM login_attempts a WHERE a.username::text = u.username::text AND a.locked_until = u.locked_until::timestamptz)
ORDER BY u.locked_until DESC LIMIT 1000`

// lock is a lock that another program wrote.
type lock struct {
	now, until time.Time
	changed    *time.Time // the row; nil where that is not known
}

// The sharding manager locks for a quarter of an hour. Its clock and the database's differ by no more than the tolerance.
const (
	managersLock  = 15 * time.Minute
	lockTolerance = 5 * time.Second
)

// wallTime returns the zone in whose wall time the lock was written, as its distance to UTC; 0 where nothing shows that it was written
// in another one. The sharding manager writes a lock and the time of the change in one statement: the lock by the zone of its process,
// the time of the change by that of its session. Zones that differ by other than whole or half hours cannot be distinguished
// from locks that an administrator set by hand.
func (l lock) wallTime() time.Duration {
	if l.changed == nil {
		return 0
	}
	distance := l.until.Sub(*l.changed) - managersLock
	zone := distance.Round(30 * time.Minute)
	if (distance-zone).Abs() > lockTolerance || zone < -12*time.Hour || zone > 14*time.Hour {
		return 0
	}
	return zone
}

// isAhead reports whether the lock lies later than any that the sharding manager writes.
func (l lock) isAhead() bool { return l.until.Sub(l.now) > managersLock+time.Minute }

// describeLocks finds locks of other programs in another time zone.
func describeLocks(locks []lock) (found []store.Finding) {
	object := schema.Ident("locked_until")
	for _, l := range locks {
		f := store.Finding{Object: object}
		switch zone := l.wallTime(); {
		case zone > 0:
			f.Kind = store.FindingLockZone
			f.Consequence = fmt.Sprintf("A program whose time zone is %s wrote a lock as its wall time, so that it ends %v too late; start that program, the "+
				"sharding manager for example, with TZ=UTC.", offset(zone), zone)
		case zone < 0:
			f.Kind = store.FindingLockZone
			f.Consequence = fmt.Sprintf("A program whose time zone is %s wrote a lock as its wall time, so that it is over before it begins and keeps nobody out; "+
				"start that program, the sharding manager for example, with TZ=UTC.", offset(zone))
		case l.isAhead():
			f.Kind = store.FindingLongLock
			f.Consequence = "A lock that the login API did not write ends later than any of the sharding manager's, which are 15 minutes long. An administrator set it by " +
				"SQL, or the time zone of a program is ahead of UTC: start that one with TZ=UTC."
		default:
			continue
		}
		found = append(found, f)
	}
	return store.SortFindings(found)
}

// offset writes a distance to UTC, as UTC+9 or UTC-3:30.
func offset(zone time.Duration) string {
	minutes := int(zone.Minutes())
	text := fmt.Sprintf("UTC%+d", minutes/60)
	if minutes > -60 && minutes < 0 {
		text = "UTC-0"
	}
	if minutes %= 60; minutes != 0 {
		text += fmt.Sprintf(":%02d", max(minutes, -minutes))
	}
	return text
}

// inspectTimes finds times that another program stored, or will store, in another zone than UTC. Unlike InspectTable it reads rows:
// those with a lock, by their index.
func (s *Store) inspectTimes(ctx context.Context) ([]store.Finding, error) {
	if !s.settings.Role.makesSchema() {
		return nil, nil // the controller's store does
	}
	limited, cancel := context.WithTimeout(ctx, s.settings.StatementTimeout)
	defer cancel()
	server, err := s.serverZone(limited)
	if err != nil {
		server = "" // what is asked next tells whether the database answers
	}
	var zones []roleZone
	var locks []lock
	err = s.borrow(limited, func(c *conn) (err error) {
		if zones, err = collect(limited, c, readZones, func(row pgx.CollectableRow) (z roleZone, err error) {
			err = row.Scan(&z.name, &z.zone, &z.database)
			return z, err
		}); err != nil {
			return err
		}
		var may bool
		if err := c.QueryRow(limited, mayReadChanged).Scan(&may); err != nil {
			return err
		}
		changed := "NULL::timestamptz"
		if may {
			changed = "u.updated_at::timestamptz"
		}
		locks, err = collect(limited, c, fmt.Sprintf(readLocks, changed), func(row pgx.CollectableRow) (l lock, err error) {
			err = row.Scan(&l.now, &l.until, &l.changed)
			return l, err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return append(describeZones(zones, server), describeLocks(locks)...), nil
}

// mayReadChanged asks whether the role may read when a row was changed.
const mayReadChanged = `SELECT COALESCE(pg_catalog.has_column_privilege(pg_catalog.to_regclass('` + schema.Users + `')::oid, 'updated_at', 'SELECT'), false)`

func collect[T any](ctx context.Context, c *conn, sql string, scan pgx.RowToFunc[T]) ([]T, error) {
	rows, err := c.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}
