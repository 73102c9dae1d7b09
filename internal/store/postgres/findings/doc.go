// SPDX-License-Identifier: Apache-2.0

// Package findings finds what about the table users, its database and the role's sessions makes statements fail, or changes what
// they do. One query reads facts from the catalog of the database. Pure functions turn the facts into findings:
//
//	catalog.go  the query, and the order of the findings
//	columns.go  columns that are missing, or whose type does not fit
//	objects.go  kind of the table, keys, constraints, triggers, rules, policies, settings, versions, rights
//	schemas.go  other roles that may create objects in the search path
//	writers.go  other roles with which a sharding manager could not start
package findings
