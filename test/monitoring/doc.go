// SPDX-License-Identifier: Apache-2.0

// Package monitoring shows that what config/prometheus has is right: promtool tests each alert by made-up series (alerts/), and
// a real Prometheus scrapes a real manager, as the ServiceMonitor says, and evaluates alerts and dashboard on what it finds there.
// All of it is tests.
package monitoring
