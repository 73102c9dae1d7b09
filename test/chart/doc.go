// SPDX-License-Identifier: Apache-2.0

// Package chart holds the Helm chart to what it promises: to the manifests of config/, of which it is another form; to its own
// documentation; and to a real API server, on which helm itself installs, upgrades and uninstalls it, and the built manager
// runs as the chart's Deployment says. All of it is tests.
package chart
