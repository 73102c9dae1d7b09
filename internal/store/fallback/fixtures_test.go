// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/cache"
	"github.com/sharding-system/shardinguser-operator/internal/store/memory"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var limits = store.Limits{Attempts: 5, Duration: 15 * time.Minute}

// database is a database that can become unavailable.
type database struct {
	*memory.Store
	unavailable, deaf atomic.Bool
	looks             atomic.Int64 // that were not for the copy

	readable atomic.Bool // although it is unavailable for logins, as a standby is
	reached  atomic.Bool // nothing tells that a call did not reach it
	hangs    atomic.Bool // no write returns before its context ends

	mu      sync.Mutex
	charged func() // called while an attempt that was charged is not yet answered
	merging func() // called in the midst of a merge
	merges  []store.OfflineBatch
	refuse  error  // what a merge says
	refused string // an account that no merge may have
	lost    bool   // a merge's answer is lost, once
}

// set changes it while others may ask it.
func (d *database) set(change func(*database)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func (d *database) gone() error {
	if d.unavailable.Load() {
		return &store.UnavailableError{Sentence: "it is unavailable", Unsent: !d.reached.Load()}
	}
	return nil
}

func (d *database) Health() store.Health {
	gone := d.gone()
	return store.Health{
		Answered: true, Unavailable: gone != nil, Reading: gone, Writing: gone, Current: !d.deaf.Load() && gone == nil,
	}
}

func (d *database) Observe(ctx context.Context, username string) (user.Observed, error) {
	d.looks.Add(1)
	if err := d.gone(); err != nil {
		return user.Observed{}, err
	}
	return d.Store.Observe(ctx, username)
}

func (d *database) Snapshot(ctx context.Context, usernames []string) (map[string]user.Observed, error) {
	if err := d.gone(); err != nil && !d.readable.Load() {
		return nil, err
	}
	return d.Store.Snapshot(ctx, usernames)
}

func (d *database) Charge(ctx context.Context, a store.Attempt, l store.Limits) (store.Charge, error) {
	if d.hangs.Load() {
		<-ctx.Done()
		return store.Charge{}, ctx.Err()
	}
	if err := d.gone(); err != nil {
		return store.Charge{}, err
	}
	charged, err := d.Store.Charge(ctx, a, l)
	d.mu.Lock()
	during := d.charged
	d.mu.Unlock()
	if during != nil {
		during()
	}
	return charged, err
}

func (d *database) Settle(ctx context.Context, charged store.Charge, success bool) (bool, error) {
	if d.hangs.Load() {
		<-ctx.Done()
		return false, ctx.Err()
	}
	if err := d.gone(); err != nil {
		return false, err
	}
	return d.Store.Settle(ctx, charged, success)
}

func (d *database) Merge(ctx context.Context, o store.OfflineBatch, l store.Limits) error {
	d.mu.Lock()
	merging := d.merging
	d.mu.Unlock()
	if merging != nil {
		merging()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := errors.Join(d.gone(), d.refuse); err != nil {
		return err
	}
	if slices.ContainsFunc(o.Accounts, func(activity store.OfflineActivity) bool { return activity.Username == d.refused && d.refused != "" }) {
		return &store.UnavailableError{Sentence: "not this row"}
	}
	if err := d.Store.Merge(ctx, o, l); err != nil {
		return err
	}
	if !slices.ContainsFunc(d.merges, func(merged store.OfflineBatch) bool { return merged.ID == o.ID }) {
		d.merges = append(d.merges, o)
	}
	if d.lost {
		d.lost = false
		return &store.UnavailableError{Sentence: "the connection broke"}
	}
	return nil
}

// row is that of a username; the zero one where there is none.
func (d *database) row(username string) user.Row {
	o, _ := d.Store.Observe(context.Background(), username)
	if o.Row == nil {
		return user.Row{}
	}
	return *o.Row
}

// attempts are those that were merged.
func (d *database) attempts() (all []store.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range d.merges {
		all = append(all, o.Attempts...)
	}
	return all
}

// cluster is what the resources say.
type cluster struct {
	mu        sync.Mutex
	accounts  map[string]user.Observed
	locks     map[string]time.Time
	published map[string]time.Time
	refuse    error
	asked     func() // called while the accounts are gathered
}

func (c *cluster) Accounts(context.Context) (map[string]user.Observed, error) {
	c.mu.Lock()
	asked := c.asked
	c.mu.Unlock()
	if asked != nil {
		asked()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.accounts), c.refuse
}

func (c *cluster) Locks(context.Context) (map[string]time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.locks), c.refuse
}

func (c *cluster) PublishLock(_ context.Context, username string, locked user.Observed) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.published[username] = *locked.Row.LockedUntil
	return c.refuse
}

func (c *cluster) change(change func(*cluster)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

// world is a Store that runs, over a database in which alice and bob are, in a time of its own.
type world struct {
	*Store
	t        *testing.T
	db       *database
	cluster  *cluster
	log      *record
	registry *prometheus.Registry
	announce []bool
}

// inWorld runs a story in one. With unavailable, the database is unavailable from the start.
func inWorld(t *testing.T, unavailable bool, change func(*Options, *cache.Options), story func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, log: &record{}, registry: prometheus.NewRegistry(),
			db: &database{Store: memory.New(time.Now)}, cluster: &cluster{published: map[string]time.Time{}},
		}
		w.db.unavailable.Store(unavailable)
		for _, username := range []string{"alice", "bob"} {
			w.db.Edit(username, func(*user.Row) *user.Row { return &user.Row{PasswordHash: "hash of " + username, Active: true} })
		}
		cacheOptions := cache.Options{Database: w.db, Size: 100, Registry: w.registry, Now: time.Now}
		options := Options{
			Database: w.db, Cluster: w.cluster, Limits: limits,
			Announce: func(_ context.Context, active bool) { w.announce = append(w.announce, active) },
			Registry: w.registry, Log: slog.New(slog.NewTextHandler(w.log, nil)),
		}
		if change != nil {
			change(&options, &cacheOptions)
		}
		cached, err := cache.New(cacheOptions)
		if err != nil {
			t.Fatal(err)
		}
		options.Cache = cached
		if w.Store, err = New(options); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		var caching sync.WaitGroup
		caching.Go(func() { _ = cached.Run(ctx) })
		go func() { ended <- w.Run(ctx) }()
		w.passes(5 * time.Second)
		story(w)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		caching.Wait()
	})
}

// passes lets time pass, and what is due be done.
func (w *world) passes(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // The bubble's clock: nobody waits.
	synctest.Wait()
}

// goes makes the database unavailable, and comes available again.
func (w *world) goes()  { w.db.unavailable.Store(true); w.passes(3 * time.Second) }
func (w *world) comes() { w.db.unavailable.Store(false); w.passes(3 * time.Second) }

func (w *world) charge(username string) store.Charge {
	w.t.Helper()
	charged, err := w.Charge(w.t.Context(), store.Attempt{Username: username, Alias: "alias"}, limits)
	if err != nil {
		w.t.Fatalf("charge %s: %v", username, err)
	}
	return charged
}

func (w *world) settle(charged store.Charge, success bool) bool {
	w.t.Helper()
	accepted, err := w.Settle(w.t.Context(), charged, success)
	if err != nil {
		w.t.Fatalf("settle: %v", err)
	}
	return accepted
}

// fails makes so many failed attempts, and returns the verdict of the last.
func (w *world) fails(username string, times int) (verdict store.Verdict) {
	w.t.Helper()
	for range times {
		charged := w.charge(username)
		w.settle(charged, false)
		verdict = charged.Verdict
	}
	return verdict
}

// observe is the row as a gateway's requests find it.
func (w *world) observe(username string) user.Row {
	w.t.Helper()
	o, err := w.Observe(w.t.Context(), username)
	if err != nil {
		w.t.Fatalf("observe %s: %v", username, err)
	}
	if o.Row == nil {
		return user.Row{}
	}
	return *o.Row
}

// dropped is the metric of attempts that there was no room for.
func (w *world) dropped() int {
	w.t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "shardinguser_audit_dropped_total" {
			return int(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	w.t.Fatal("there is no such metric")
	return 0
}

// record keeps what is logged.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(line)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}
