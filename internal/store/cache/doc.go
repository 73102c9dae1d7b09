// SPDX-License-Identifier: Apache-2.0

// Package cache keeps the accounts in memory, so that requests of gateways need no query.
//
// The cache holds every account of the table, up to a bound. A changed row causes a notification, and the account is stale
// until it was read again. A stale account is read from the database, as is an account that is not in the cache. While
// notifications do not arrive, every account is. An account that this process changes is invalidated at once.
//
// Counters of failed logins cause no notification. The cache counts the attempts of its own replica. It learns those of other
// replicas from the sweep, within half a minute.
package cache
