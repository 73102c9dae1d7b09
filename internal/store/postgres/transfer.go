// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/observer"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// transferRecords moves ownership records that are still as they were observed. It leaves those of another cluster whose
// operator is alive: it may have started since. The reason in account_changes names the former owner. Generation 0 makes the next reconcile apply the resource, and not correct drift.
var transferRecords = `
WITH asked AS (
    SELECT * FROM ROWS FROM (
        pg_catalog.unnest(@usernames::text[]), pg_catalog.unnest(@revisions::bigint[]), pg_catalog.unnest(@clusters::text[]),
        pg_catalog.unnest(@systems::text[]), pg_catalog.unnest(@namespaces::text[]), pg_catalog.unnest(@names::text[]),
        pg_catalog.unnest(@uids::text[]), pg_catalog.unnest(@printable::text[])
    ) AS a (username, revision, cluster, system, namespace, name, uid, printable)
),
moved AS (
    UPDATE shardinguser_ownership o SET
        cluster = a.cluster, system = a.system, namespace = a.namespace, name = a.name, uid = a.uid,
        generation = 0, revision = DEFAULT, changed_at = pg_catalog.now(),
        transferred_from = pg_catalog.concat_ws('/', o.cluster, o.system, o.namespace, o.name), transferred_at = pg_catalog.now()
    FROM asked a
    WHERE o.username::text = a.username AND o.revision = a.revision AND o.state <> 'deleted'
      AND (o.cluster = a.cluster OR NOT ` + isAlive(signsOf("o.cluster", "o.system")) + `)
    RETURNING o.username::text, a.printable, o.cluster, o.system, o.namespace, o.name, o.uid, o.generation, o.transferred_from
),
changed AS (
    ` + insertChange + `
    SELECT pg_catalog.now(), m.printable, '` + string(user.ActionTransferred) + `', ` + rolesOfRow + `, ` + rolesOfRow + `, u.active, u.active, false,
           m.cluster, m.system, m.namespace, m.name, m.uid, m.generation, '', 'from ' || m.transferred_from
    FROM moved m LEFT JOIN users u ON u.username::text = m.username
)
SELECT moved.username, pg_catalog.pg_notify('` + observer.RowsChannel + `', moved.username)::text FROM moved`

// Transfer moves ownership records in one statement, and returns the usernames of those that it moved. It leaves a record that
// changed since it was observed, and one of another cluster whose operator is alive. It writes no row of the table users.
func (s *Store) Transfer(ctx context.Context, transfers []store.Transfer) (moved []string, err error) {
	columns := map[string][]string{}
	add := func(column, value string) { columns[column] = append(columns[column], value) }
	revisions := make([]int64, 0, len(transfers))
	for _, t := range transfers {
		revisions = append(revisions, t.Revision)
		add("usernames", t.Username)
		add("clusters", t.To.Cluster)
		add("systems", t.To.System)
		add("namespaces", t.To.Namespace)
		add("names", t.To.Name)
		add("uids", t.To.UID)
		add("printable", store.Attempt{Username: t.Username}.Record(true).Username)
	}
	args := pgx.NamedArgs{"revisions": revisions, "alive_for": store.AliveFor.Microseconds()}
	for column, values := range columns {
		args[column] = values
	}
	err = s.run(ctx, writes, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		rows, err := conn.Query(ctx, transferRecords, args)
		if err != nil {
			return err
		}
		moved, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (username string, err error) {
			var notified *string
			return username, row.Scan(&username, &notified)
		})
		return err
	})
	return moved, err
}
