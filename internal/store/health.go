// SPDX-License-Identifier: Apache-2.0

package store

// Health is what a store knows of its database at one moment. The zero value is a store that knows nothing yet. The slices
// are shared, so a reader does not change them.
type Health struct {
	// Answered is true once the database has answered a call.
	Answered bool

	// Unavailable is true while the database is known to be of no use for logins: it cannot be reached or read, or it takes
	// no writes. It is false while nothing is known. A caller cannot cause it.
	Unavailable bool

	// Reading is the error that a call which reads is expected to get, and Writing that of a call which writes. They are nil
	// where nothing is known to prevent the call. An error of reading is one of writing too. A locked row and a busy pool
	// cause neither.
	Reading, Writing error

	// Watched is true while at least one subscriber watches the rows, and Notified while notifications report their changes.
	Watched, Notified bool

	// Current is true while subscribers were notified of every change that is older than a second and that the trigger
	// reports. It is false as soon as the listening connection is silent, and while the pool and that connection may lead to
	// different databases.
	Current bool

	Findings         []Finding        // of the last inspection of the table users
	DefaultPasswords DefaultPasswords // as the last look for them found
}

// Up reports whether the database answered, and neither failed nor rejected writes since then.
func (h Health) Up() bool { return h.Answered && h.Writing == nil }

// Polling reports whether subscribers learn of changes by sweeps only.
func (h Health) Polling() bool { return h.Watched && !h.Notified }
