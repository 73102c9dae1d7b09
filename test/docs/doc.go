// SPDX-License-Identifier: Apache-2.0

// Package docs holds the documentation to what is there: the tests and files that it names exist. Whether commands and resources
// of its pages work is for test/e2e.
package docs
