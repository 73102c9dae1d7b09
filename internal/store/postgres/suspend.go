// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"fmt"
	"strings"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// suspension returns the steps of a Suspend: if the owner of an owned or released record is gone, the row becomes inactive, with
// a disabled hash, and the record says so. The revision shows that the record is still the one that was observed.
func suspension(change user.Change) []string {
	fence := fenceSuspended
	if len(change.Endangered) > 0 {
		fence = sparingLastHolders(fence)
	}
	set := "active = false"
	if change.WritesHash() {
		set += ", password_hash = " + hashAfter(change)
	}
	return []string{
		fence, lockedBefore(lockForUpdate), fmt.Sprintf(updateRow, set), strings.ReplaceAll(noteSuspended, "%[1]s", "written"), changedWritten,
	}
}

const (
	fenceSuspended = `
fence AS (
    SELECT o.username FROM patience, shardinguser_ownership o
    WHERE o.username::text = @username::text AND o.revision = @revision::bigint AND o.uid = @uid::text AND o.state <> 'deleted'
    FOR UPDATE OF o
)`

	noteSuspended = `,
recorded AS (
    UPDATE shardinguser_ownership o SET suspended = true, revision = DEFAULT, changed_at = pg_catalog.now()
    FROM %[1]s w WHERE o.username::text = w.username::text
    RETURNING o.username
)`
)
