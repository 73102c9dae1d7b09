// SPDX-License-Identifier: Apache-2.0

// Package bench measures what the documentation claims, on a real API server, a real Postgres and the real bin/manager
// with its default settings: `make bench`. Servers, manager and measurement share the machine's cores, so the figures
// are what one gets with everything on one machine, and worse than where each has its own.
//
// What a benchmark claims beside time (no hash too many, no write too many) it checks, and fails where it does not hold.
package bench
