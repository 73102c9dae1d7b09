// SPDX-License-Identifier: Apache-2.0

// Package docs holds the documentation to what is there: the tests and files that it names exist, and the API server takes
// the resources that it shows.
package docs
