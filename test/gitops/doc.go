// SPDX-License-Identifier: Apache-2.0

// Package gitops holds the operator to what tools for GitOps make of it: Argo CD by its own health and action scripts, its
// settings, its diff and its GitOps engine, Flux and kubectl by kstatus, all as the Go modules that those are made of,
// against a real API server, a real Postgres and the real operator.
//
// It is a module of its own, since Argo CD pins Kubernetes' modules to versions of its own: it knows the operator by its
// public face alone, and has it started by test/testenv/pair.
package gitops
