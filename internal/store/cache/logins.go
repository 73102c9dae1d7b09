// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Charged counts an attempt that was charged in the database: counters cause no notification. A lock causes one, but the
// database may become unavailable before it arrives.
func (c *Cache) Charged(charge store.Charge) {
	if charge.Verdict != store.Check {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.edit(charge.Username, func(row *user.Row) {
		lock := setCounter(row, charge, charge.Failed)
		*lock = nil // a lock that was there had expired
		if charge.Locks {
			*lock = new(charge.Until)
		}
	})
	c.markAfterLogin(charge)
}

// setCounter sets the counter of the budget that was charged, and returns its lock. The familiar one's counter is not in the row.
func setCounter(row *user.Row, charge store.Charge, failed int) (lock **time.Time) {
	if charge.Familiar {
		return &row.FamiliarLockedUntil
	}
	row.FailedLoginAttempts = failed
	return &row.LockedUntil
}

// Succeeded records a login, which may have cleared the lock that its own charge wrote.
func (c *Cache) Succeeded(charge store.Charge) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.edit(charge.Username, func(row *user.Row) {
		lock := setCounter(row, charge, 0)
		if charge.Locks {
			*lock = nil
		}
	})
	c.markAfterLogin(charge)
}

// markAfterLogin marks an account whose lock changed, and one that is being read at this moment: what is read may be older
// than the attempt. It is called with the lock held.
func (c *Cache) markAfterLogin(charge store.Charge) {
	if _, stale := c.stale[charge.Username]; stale || charge.Locks {
		c.mark(charge.Username)
	}
}

// edit is called with the lock held. It changes a copy of the row, since readers may hold the row itself.
func (c *Cache) edit(username string, edit func(*user.Row)) {
	observed, ok := c.accounts.Peek(username)
	if !ok || observed.Row == nil {
		return
	}
	observed.Row = new(*observed.Row)
	edit(observed.Row)
	c.accounts.Add(username, observed)
}
