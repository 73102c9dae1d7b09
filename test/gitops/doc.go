// SPDX-License-Identifier: Apache-2.0

// Package gitops tests the operator with GitOps tools: Argo CD (health and action scripts, settings, diff and GitOps engine),
// and kstatus, which Flux uses. They run as Go libraries against a real API server, Postgres and operator.
//
// It is a separate module, since Argo CD requires other versions of the Kubernetes modules. So it uses only the operator's
// public interfaces, and starts the operator with test/testenv/pair.
package gitops
