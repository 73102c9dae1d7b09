// SPDX-License-Identifier: Apache-2.0

// Package corpus throws bad manifests, bad Secrets and bad requests at the real pair and the built manager, under exactly the
// rights of config/rbac, and compares what comes of each with the outcome that is written beside it. All of it is tests.
//
// The cases are data: lists in manifests, secrets, policies and requests, where a file is a theme and each case has a sentence
// for a name. Who finds a new way to be nasty adds it there; case_test.go says what a case may have. Text between << and >> is
// for what is long, not printable or only known at run time, see template_test.go. The files with "generated" in their names
// make further cases by rules, such as each character at each place, and compute the outcomes from what the documentation
// says, without the product's own code.
//
// Beside them chance writes manifests, in random_test.go. Its seed is printed; CORPUS_SEED=n sends the same again.
//
// All cases of a kind are sent first and waited for together. What must hold for all of them is looked at after each kind:
// no panic, no password or hash in the log, and no reconciles any more once there is nothing to do.
package corpus
