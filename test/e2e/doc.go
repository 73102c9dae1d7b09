// SPDX-License-Identifier: Apache-2.0

// Package e2e tells the users' stories end to end: the built manager as a process of its own, under exactly the rights
// of config/rbac, between a real control plane (with kube-controller-manager) and a real Postgres. All of it is tests.
//
// A story has a namespace and a database of its own. Its managers watch that namespace only, so that stories can run
// side by side; those that are about the whole cluster or about leader election run alone.
package e2e
