// SPDX-License-Identifier: Apache-2.0

// Package docs tests that the tests and files that the documentation names exist. test/e2e tests the commands and
// resources of its pages.
package docs
