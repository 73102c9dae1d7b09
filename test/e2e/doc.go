// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the users' stories end to end: the built manager runs as a separate process with exactly the rights
// of config/rbac, between a real control plane (with kube-controller-manager) and a real Postgres.
//
// A story has a namespace and a database of its own. Its managers watch that namespace only, so that stories can run
// in parallel. Stories that test the whole cluster or leader election run alone.
package e2e
