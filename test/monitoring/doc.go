// SPDX-License-Identifier: Apache-2.0

// Package monitoring tests config/prometheus. promtool tests each alert with synthetic series (alerts/). A real
// Prometheus scrapes a real manager as the ServiceMonitor says, and evaluates alerts and dashboard on the result.
package monitoring
