// SPDX-License-Identifier: Apache-2.0

// Package corpus sends bad manifests, bad Secrets and bad requests to a real API server, a real Postgres and the built
// manager, with exactly the rights of config/rbac. It compares each outcome with the expected one.
//
// The cases are data: lists in manifests, secrets, policies and requests. A file is a theme, and the name of each case
// is a sentence. Add new hostile inputs there; case_test.go says what a case may have. Text between << and >> stands
// for what is long, not printable or only known at run time, see template_test.go. The files with "generated" in their
// names create further cases by rules, such as each character at each place. They compute the outcomes from the
// documentation, without the product's code.
//
// random_test.go adds random manifests. It prints its seed; CORPUS_SEED=n repeats a run.
//
// All cases of a kind are sent first and then awaited together. After each kind, the tests check what holds for all of
// them: no panic, no password or hash in the log, and no reconciles once there is nothing to do.
package corpus
