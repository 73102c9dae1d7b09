// SPDX-License-Identifier: Apache-2.0

// Package storetest is the conformance suite for stores: the promises of package store as tests. Every store runs it, and a
// database runs it once for each kind of table that it may have.
package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Store is the tested store.
type Store interface {
	Observe(ctx context.Context, username string) (user.Observed, error)
	Snapshot(ctx context.Context, usernames []string) (map[string]user.Observed, error)
	Fresh(ctx context.Context) (bool, error)
	Apply(ctx context.Context, change user.Change) (user.Observed, error)
	Owned(ctx context.Context, scope store.Scope, after string, limit int) ([]store.Owned, error)
	Released(ctx context.Context, scope store.Scope, after string, limit int) ([]store.Owned, error)
	Watch(ctx context.Context, changed func(usernames []string), recovered func())

	Changes(ctx context.Context, query store.ChangeQuery) ([]store.AccountChange, error)
	PurgeChanges(ctx context.Context, olderThan time.Duration, batch int) (int, error)
	ReadAttempts(ctx context.Context, trail store.Trail) ([]store.CountedRecord, error)

	Charge(ctx context.Context, attempt store.Attempt, limits store.Limits) (store.Charge, error)
	Settle(ctx context.Context, charged store.Charge, success bool) (accepted bool, err error)
	PurgeAttempts(ctx context.Context, olderThan time.Duration, batch int) (int, error)
	Merge(ctx context.Context, outage store.OfflineBatch, limits store.Limits) error
}

// Harness is a store that is empty when it is opened, with what a test needs besides.
type Harness struct {
	Store Store
	Other Program

	// Nullable is true where every column but the username may be NULL.
	Nullable bool
}

// Program is another program that reads and writes the same rows with its own SQL, as the sharding manager does. Its
// methods end the test when they fail.
type Program interface {
	// Insert creates a row. Unknown columns of the table get some value.
	Insert(t *testing.T, username string, row Row)

	// Columns returns all columns of a row, also unknown ones, as values to compare; nil where there is no such row. The keys are
	// those of the table.
	Columns(t *testing.T, username string) map[string]any

	// Fail is a login that failed: the counter goes up by one and, at the fifth, the account is locked for 15 minutes.
	Fail(t *testing.T, username string)

	// LogIn is a login that succeeded: last_login_at is now.
	LogIn(t *testing.T, username string)

	// Lock has the lock expire after this time from now, which may be negative.
	Lock(t *testing.T, username string, left time.Duration)

	// SetRoles writes the column roles, in JSON.
	SetRoles(t *testing.T, username, json string)

	// SetHash writes the column password_hash; nil is NULL.
	SetHash(t *testing.T, username string, hash *string)

	// SetActive writes the column active; nil is NULL.
	SetActive(t *testing.T, username string, active *bool)

	// SetFailed writes the column failed_login_attempts; nil is NULL.
	SetFailed(t *testing.T, username string, failed *int)

	// Delete removes the row.
	Delete(t *testing.T, username string)

	// Attempts is the audit trail, in the order of the charges.
	Attempts(t *testing.T) []store.Record

	// Age makes every recorded attempt and change, and what is known of familiar addresses, older by this.
	Age(t *testing.T, by time.Duration)

	// Now is the store's clock.
	Now(t *testing.T) time.Time
}

// Row is what another program knows of a row that it creates.
type Row struct {
	Hash   string
	Roles  string // JSON
	Active bool
}

// Run runs the suite. Open is called once for each test.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	t.Helper()
	for _, group := range groups() {
		for _, test := range group {
			test.on(t, open)
		}
	}
}

// RunSample runs the first test of each group, which takes a tenth of the time. It finds a table for which a kind of statement
// fails. Open is called once for each test.
func RunSample(t *testing.T, open func(t *testing.T) Harness) {
	t.Helper()
	for _, group := range groups() {
		group[0].on(t, open)
	}
}

func groups() [][]test {
	return [][]test{
		creating, adopting, updating, ending, burying, confirming, racing, reading, watching, charging, settling, pending, keeping,
		merging, governing, sparing, owning, leaving, disabling,
		expiring, splitting, signingOut,
		changing,
	}
}

// test is one promise.
type test struct {
	sentence string
	run      func(t *testing.T, s *subject)
}

// on runs the test as a subtest.
func (c test) on(t *testing.T, open func(t *testing.T) Harness) {
	t.Helper()
	t.Run(c.sentence, func(t *testing.T) {
		harness := open(t)
		c.run(t, &subject{Harness: harness})
	})
}

// subject is the harness with the few steps that most tests take.
type subject struct {
	Harness
	outages int // merged batches, so that each has an ID of its own
}

// observe returns the account of the username.
func (s *subject) observe(t *testing.T, username string) user.Observed {
	t.Helper()
	observed, err := s.Store.Observe(t.Context(), username)
	if err != nil {
		t.Fatalf("observe %q: %v", username, err)
	}
	return observed
}

// apply makes a change that has to succeed, and expects that it returns what is observed afterwards.
func (s *subject) apply(t *testing.T, change user.Change) {
	t.Helper()
	after, err := s.Store.Apply(t.Context(), change)
	if err != nil {
		t.Fatalf("%s %q: %v", change.Verb, change.Username, err)
	}
	observed := s.observe(t, change.Username)
	expect(t, "the row that Apply returns", after.Row, observed.Row)
	expect(t, "the ownership record that Apply returns", after.Ownership, observed.Ownership)
}

// try makes a change that may fail.
func (s *subject) try(ctx context.Context, change user.Change) error {
	_, err := s.Store.Apply(ctx, change)
	return err
}

// created creates the row of a resource, as most tests begin, and returns the account.
func (s *subject) created(t *testing.T, edits ...func(*user.Change)) user.Observed {
	t.Helper()
	change := creation("alice", 0, edits...)
	s.apply(t, change)
	return s.observe(t, change.Username)
}

// revision returns that of the record of a username; 0 where there is none.
func (s *subject) revision(t *testing.T, username string) int64 {
	t.Helper()
	if note := s.observe(t, username).Ownership; note != nil {
		return note.Revision
	}
	return 0
}

// exists reports whether there is a row.
func (s *subject) exists(t *testing.T, username string) bool {
	t.Helper()
	return s.Other.Columns(t, username) != nil
}

// Owners of the tests.
var (
	alice    = user.Owner{Cluster: "cluster-1", Namespace: "team-a", Name: "alice", UID: "uid-1"}
	remade   = user.Owner{Cluster: "cluster-1", Namespace: "team-a", Name: "alice", UID: "uid-2"}
	ordered  = user.Owner{Cluster: "cluster-1", System: "orders", Namespace: "team-a", Name: "alice", UID: "uid-4"}
	stranger = user.Owner{Cluster: "cluster-1", Namespace: "team-b", Name: "alice", UID: "uid-3"}
)

// Hashes that look like those of bcrypt and match no password.
var (
	firstHash  = fmt.Sprintf("$2a$10$%053d", 1)
	secondHash = fmt.Sprintf("$2a$10$%053d", 2)
)

// creation is a change that creates alice's row on the record of this revision.
func creation(username string, revision int64, edits ...func(*user.Change)) user.Change {
	return changed(user.Change{
		Verb: user.Create, Username: username, Owner: alice, Generation: 1, Revision: revision, Deletion: "Delete",
		Roles: []string{"operator"}, Active: true,
		Password: &user.PasswordChange{Hash: firstHash, Version: "v1", New: true},
	}, edits...)
}

// adoption is a change by which alice takes over a row that exists.
func adoption(username string, revision int64, edits ...func(*user.Change)) user.Change {
	return changed(user.Change{
		Verb: user.Adopt, Username: username, Owner: alice, Generation: 1, Revision: revision, Deletion: "Delete",
		Roles: []string{"operator"}, Active: true,
	}, edits...)
}

// next is a change of alice's row by the next generation, planned on the observed account.
func next(verb user.Verb, o user.Observed, edits ...func(*user.Change)) user.Change {
	return changed(user.Change{
		Verb: verb, Username: "alice", Owner: alice, Generation: o.Ownership.Generation + 1,
		Revision: o.Ownership.Revision, Deletion: "Delete", Roles: []string{"operator"}, Active: true,
	}, edits...)
}

func changed(change user.Change, edits ...func(*user.Change)) user.Change {
	for _, edit := range edits {
		edit(&change)
	}
	return change
}

func by(owner user.Owner) func(*user.Change) { return func(c *user.Change) { c.Owner = owner } }

func generation(g int64) func(*user.Change) { return func(c *user.Change) { c.Generation = g } }

func writing(fields ...user.Field) func(*user.Change) {
	return func(c *user.Change) { c.Write = append(c.Write, fields...) }
}

func roles(roles ...string) func(*user.Change) { return func(c *user.Change) { c.Roles = roles } }

func inactive(c *user.Change) { c.Active = false }

func clearingLockout(c *user.Change) { c.ClearLockout = true }

func unlock(request string) func(*user.Change) { return func(c *user.Change) { c.Unlock = request } }

func password(p user.PasswordChange) func(*user.Change) {
	return func(c *user.Change) { c.Password = &p }
}
