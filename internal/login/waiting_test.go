// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/sharding-system/shardinguser-operator/internal/fair"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Of 1,000 concurrent logins most find no place, and these are not charged.
func TestAttemptsBeyondTheCapacityAreNotCharged(t *testing.T) {
	w := newWorld(t, nil)
	hash := hashOf(t, right)
	for i := range 1000 {
		w.add(fmt.Sprint("user-", i), user.Row{PasswordHash: hash, Active: true})
	}
	var served, busy atomic.Int64
	parallel(1000, func(i int) {
		switch a := w.postLogIn(fmt.Sprint("user-", i), right); a.Code {
		case http.StatusOK:
			served.Add(1)
		case http.StatusTooManyRequests:
			busy.Add(1)
			if a.Header().Get("Retry-After") == "" || !strings.Contains(a.Body.String(), `"code":"TOO_MANY_REQUESTS"`) {
				t.Errorf("%v %s", a.Header(), a.Body)
			}
		default:
			t.Errorf("%d %s", a.Code, a.Body)
		}
	})
	if served.Load() == 0 || served.Load()+busy.Load() != 1000 {
		t.Errorf("%d served and %d rejected", served.Load(), busy.Load())
	}
	if n := w.tap.charges.Load(); n != served.Load() {
		t.Errorf("%d charges for %d that were served", n, served.Load())
	}
}

func TestAnAttemptWithoutAHashingPlaceIsBusyAndUncharged(t *testing.T) {
	w := newWorld(t, nil)
	var places []*password.Reservation
	for {
		place, err := w.Hasher.Reserve(fair.Key{})
		if err != nil {
			break
		}
		places = append(places, place)
	}
	if a := w.postLogIn("alice", right); a.Code != http.StatusTooManyRequests || a.Header().Get("Retry-After") != "1" {
		t.Errorf("%d %v", a.Code, a.Header())
	}
	if w.tap.charges.Load() != 0 {
		t.Error("an attempt without a place was charged")
	}
	for _, place := range places {
		place.Release()
	}
	if got := w.try("alice", right); got != Succeeded {
		t.Errorf("with the places free: %s", got)
	}
}

func TestADisconnectDoesNotUndoTheCharge(t *testing.T) {
	for name, when := range map[string]func(*tap, func() error){
		"during the charge":     func(a *tap, hangUp func() error) { a.charging = hangUp },
		"after the charge":      func(a *tap, hangUp func() error) { a.charged = hangUp },
		"during the settlement": func(a *tap, hangUp func() error) { a.settling = hangUp },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			ctx, cancel := context.WithCancel(t.Context())
			when(w.tap, func() error { cancel(); return nil })
			if got := w.LogIn(ctx, Credentials{Username: "alice", Password: wrong}); got.Outcome != Failed {
				t.Errorf("the outcome is %s", got.Outcome)
			}
			if got := w.outcomes(); got[store.Failed] != 1 || w.row("alice").FailedLoginAttempts != 1 {
				t.Errorf("the record has %v, and in the row %+v", got, w.row("alice"))
			}
		})
	}
}

func TestADisconnectInTheQueueIsNotCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		inside, proceed := make(chan struct{}), make(chan struct{})
		w.tap.charging = func() error { close(inside); <-proceed; return nil }
		go w.try("alice", right)
		<-inside
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan Outcome)
		go func() { ended <- w.LogIn(ctx, Credentials{Username: "alice", Password: wrong}).Outcome }()
		synctest.Wait()
		cancel()
		if got := <-ended; got != Abandoned {
			t.Errorf("the outcome is %s", got)
		}
		close(proceed)
		synctest.Wait()
		if n := w.tap.charges.Load(); n != 1 {
			t.Errorf("%d charges, want that of the first alone", n)
		}
	})
}

func TestTheLengthOfALineIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		inside, proceed := make(chan struct{}), make(chan struct{})
		w.tap.charging = func() error { close(inside); <-proceed; return nil }
		go w.try("alice", right)
		<-inside
		ended := make(chan Outcome, maxWaitingOnAccount)
		for range maxWaitingOnAccount {
			go func() { ended <- w.try("alice", right) }()
		}
		synctest.Wait()
		if got := w.try("alice", right); got != Busy {
			t.Errorf("behind a full line: %s", got)
		}
		for range maxWaitingOnAccount { // the first one blocks the others
			if got := <-ended; got != Busy {
				t.Errorf("in a line that does not move: %s", got)
			}
		}
		close(proceed)
		synctest.Wait()
		if n := w.tap.charges.Load(); n != 1 || len(w.queue.lines) != 0 {
			t.Errorf("%d charges and %d lines are left", n, len(w.queue.lines))
		}
	})
}

func TestAShutdownRejectsWaitingAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		inside, proceed := make(chan struct{}), make(chan struct{})
		w.tap.charging = func() error { close(inside); <-proceed; return nil }
		first, second := make(chan Outcome, 1), make(chan Outcome, 1)
		go func() { first <- w.try("alice", wrong) }()
		<-inside
		go func() { second <- w.try("alice", right) }()
		synctest.Wait()
		w.queue.close()
		if got := <-second; got != Unavailable {
			t.Errorf("a waiting attempt ended with %s", got)
		}
		close(proceed)
		if got := <-first; got != Failed {
			t.Errorf("a charged attempt ended with %s", got)
		}
		w.Wait()
		if got := w.outcomes(); got[store.Failed] != 1 {
			t.Errorf("the record has %v", got)
		}
	})
}

// The limit is for all accounts together: attempts that would wait too long are rejected uncharged with a Retry-After.
func TestTheNumberOfWaitingAttemptsIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		proceed := make(chan struct{})
		w.tap.charging = func() error { <-proceed; return nil }
		const accounts, each = 10, 100
		outcomes := make(chan Outcome, accounts*each)
		for i := range accounts * each {
			go func() { outcomes <- w.try(fmt.Sprint("user-", i%accounts), wrong) }()
		}
		synctest.Wait()
		if sent, waiting := len(outcomes), w.queue.most; sent != accounts*each-waiting {
			t.Errorf("%d were rejected, want all but %d", sent, waiting)
		}
		for range len(outcomes) {
			if got := <-outcomes; got != Busy {
				t.Errorf("a rejected attempt ended with %s", got)
			}
		}
		close(proceed)
		w.Wait()
	})
}
