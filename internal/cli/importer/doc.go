// SPDX-License-Identifier: Apache-2.0

// Package importer makes manifests of the rows of a table, and brings a directory or a cluster in line with them.
//
//   - [Conversion] decides which rows become a ShardingUser and a Secret, and remarks on the others. It is pure.
//   - [Directory] merges the manifests into files. Additions of users to a file stay.
//   - [Cluster] applies them by server-side apply, as the field manager kubectl-shardinguser.
package importer
