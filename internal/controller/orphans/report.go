// SPDX-License-Identifier: Apache-2.0

package orphans

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// report counts, logs and announces the orphans. Each is logged and announced once.
func (o *Search) report(ctx context.Context, found []store.Owned) {
	log := logf.FromContext(ctx)
	o.count.Set(float64(len(found)))
	known, usernames := make(map[store.Owned]time.Time, len(found)), make(map[string]bool, len(found))
	orphans := make([]store.Orphan, 0, len(found))
	hasNew := false
	for _, record := range found {
		key := identity(record)
		since, isKnown := o.known[key]
		if !isKnown {
			since, hasNew = time.Now(), true
			log.Info("An account is orphaned: its ShardingUser does not exist", "shardinguser", record.Owner.String(),
				"username", record.Username, "active", record.Active)
		}
		known[key], usernames[record.Username] = since, true
		orphans = append(orphans, store.Orphan{
			Namespace: record.Owner.Namespace, Name: record.Owner.Name, Username: record.Username, Active: record.Active,
		}.Clean())
	}
	for key := range o.known {
		if _, ok := known[key]; !ok {
			log.Info("An account is no longer orphaned", "shardinguser", key.Owner.String(), "username", key.Username)
		}
	}
	o.known = known
	o.mu.Lock()
	o.usernames = usernames
	o.mu.Unlock()
	if hasNew {
		o.events.Eventf(o.options.Replica.Pod(), nil, corev1.EventTypeWarning, EventOrphanedAccounts, "SearchForOrphans", "%s",
			orphanMessage(o.options.System, orphans))
	}
	var held *store.HeldOrphans
	if token := o.guard.token(); token != "" {
		held = &store.HeldOrphans{Count: len(o.guard.held), Token: token}
	}
	o.publisher.setOrphans(orphans, held)
}

// orphanMessage returns the text of the Event about a system's orphans: how many there are, and the first few.
func orphanMessage(system string, orphans []store.Orphan) string {
	names := make([]string, 0, len(orphans))
	for _, orphan := range orphans {
		names = append(names, orphan.Namespace+"/"+orphan.Name)
	}
	return fmt.Sprintf("The table has %d accounts of ShardingUsers that do not exist: %s. They can log in where they are active. "+
		"Run %s to list them; create the ShardingUsers again, or delete the rows.", len(orphans), firstFew(names), store.OrphansCommand(system))
}
