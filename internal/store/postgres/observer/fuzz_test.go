// SPDX-License-Identifier: Apache-2.0

package observer

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// A notification is a username to read again and nothing else, whatever role sent it: it is reported to each subscriber at
// once, and again by the next sweep. A payload that cannot be a username is dropped.
func FuzzNotification(f *testing.F) {
	for _, s := range []string{"", "alice", "zoe", " ", "a\x00b", "\xff", strings.Repeat("é", 256), `{"username":"alice"}`, "'; DROP TABLE users; --", "alice\nbob"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		r := newRun(&table{}, Settings{Log: slog.New(slog.DiscardHandler)}, UsualTiming())
		subscribers := []*subscriber{newSubscriber(), newSubscriber()}
		for _, m := range subscribers {
			r.join(m)
		}
		expect := func(what string, want ...string) {
			t.Helper()
			for _, m := range subscribers {
				if got := takeAll(m); !slices.Equal(got, want) {
					t.Fatalf("%s: %q are reported, want %q", what, got, want)
				}
			}
		}
		sweep := func() {
			r.begin()
			found := compareWith(r.known)
			found.add([]byte("zoe"), 1)
			r.report(t.Context(), found)
			r.end(nil, nil)
		}
		var notified []string
		if payload != "" && store.MayBeUsername(payload) { // an empty one is for no row
			notified = []string{payload}
		}
		sweep()
		expect("at first", "zoe")
		r.arrived(ProbeChannel, payload) // is ignored
		r.arrived(RowsChannel, payload)
		if r.requested != (payload == "") {
			t.Fatalf("%q requests a sweep: %v", payload, r.requested)
		}
		expect("by the notification", notified...)
		sweep()
		expect("by the next sweep", notified...)
		sweep()
		expect("by the last sweep")
		if store.MayBeUsername(payload) && (!utf8.ValidString(payload) || strings.Contains(payload, "\x00") || utf8.RuneCountInString(payload) > store.MaxUsername) {
			t.Fatalf("%q would be asked of the database", payload)
		}
	})
}
