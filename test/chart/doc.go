// SPDX-License-Identifier: Apache-2.0

// Package chart tests the Helm chart against the manifests of config/, against its own documentation, and on a real API
// server. There, helm installs, upgrades and uninstalls it, and the built manager runs as the chart's Deployment says.
package chart
