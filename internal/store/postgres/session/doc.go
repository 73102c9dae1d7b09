// SPDX-License-Identifier: Apache-2.0

// Package session has what is true of one connection to the database, and of all connections of a store together:
//
//	settings.go  the settings that each session starts with
//	path.go      the search path by which a session resolves names, also behind a pooler that drops it
//	identity.go  the server, the database and the table users to which a connection leads
//	registry.go  whether all connections of a store lead to one database, and their renewal if they do not
package session
