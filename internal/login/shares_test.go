// SPDX-License-Identifier: Apache-2.0

//go:build !race

package login

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	reference "golang.org/x/crypto/bcrypt"

	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

const (
	// inTime is the limit on two cores that compute usualRate hashes a second, like the machine of docs/performance.md. It grows in
	// proportion if other programs slow down hashing.
	inTime    = 2 * time.Second
	usualRate = 40

	// mostHashes is the number of hashes that these cores compute in half of that time.
	mostHashes = 40
)

// guesses counts the answers to a flood by status; 0 if the connection failed.
type guesses struct{ passed, refused, busy, failed atomic.Int64 }

func (g *guesses) count(status int) {
	switch status {
	case http.StatusOK:
		g.passed.Add(1)
	case http.StatusUnauthorized:
		g.refused.Add(1)
	case http.StatusTooManyRequests:
		g.busy.Add(1)
	default:
		g.failed.Add(1)
	}
}

// hashesPerSecond measures the hashes that two goroutines compute, besides other programs on the machine.
func hashesPerSecond(t testing.TB) float64 {
	t.Helper()
	const each = 4
	begun := time.Now()
	parallel(2, func(int) {
		for range each {
			if _, err := reference.GenerateFromPassword([]byte(wrong), password.MinCost); err != nil {
				t.Error(err)
			}
		}
	})
	return 2 * each / time.Since(begun).Seconds()
}

// atDefaults returns a server with the default settings of the manager, on two cores.
func atDefaults(t *testing.T) *served {
	t.Helper()
	return start(t, newWorld(t, func(o *Options) {
		o.Hasher = password.NewHasher(password.MinCost, 2)
		o.SourceRate, o.SourceBurst = -1, 200
		o.Now = time.Now
	}), ServerOptions{MaxConnections: 2048})
}

// dial opens a connection from an address of this machine.
func (s *served) dial(ctx context.Context, from string) (net.Conn, error) {
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}},
		Config:    &tls.Config{InsecureSkipVerify: true},
	}
	return dialer.DialContext(ctx, "tcp", s.address)
}

// says sends one attempt on a connection and returns the status; 0 if the connection failed.
func says(c io.Writer, r *bufio.Reader, username, password string) int {
	_, _ = io.WriteString(c, posted(username, password, ""))
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

// flood guesses from an address on this many connections until the returned function is called. Each connection retries at once.
// It returns when all are connected.
func (s *served) flood(from string, connections int, username func(i int) string) (*guesses, func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var all, begun sync.WaitGroup
	heard := &guesses{}
	begun.Add(connections)
	for c := range connections {
		all.Go(func() {
			connected := sync.OnceFunc(begun.Done)
			defer connected()
			for i := c; ctx.Err() == nil; {
				connection, err := s.dial(ctx, from)
				if err != nil {
					continue
				}
				connected()
				stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
				for r := bufio.NewReader(connection); ; i += connections {
					status := says(connection, r, username(i), wrong)
					heard.count(status)
					if status == 0 {
						break
					}
				}
				stop()
				_ = connection.Close()
			}
		})
	}
	begun.Wait()
	end := sync.OnceFunc(func() { cancel(); all.Wait() })
	s.t.Cleanup(end)
	return heard, end
}

// right logs in this many times, each time from another address, and returns the duration of each login; a refusal counts as an
// endless one. It also returns the number of logins that waited for more than mostHashes hashes.
func (s *served) right(times int, username func(i int) string) (took []time.Duration, late int) {
	s.t.Helper()
	for i := range times {
		begun, before := time.Now(), s.Hasher.Compared()
		status := 0
		if c, err := s.dial(s.t.Context(), fmt.Sprintf("127.0.1.%d", i+1)); err == nil {
			status = says(c, bufio.NewReader(c), username(i), right)
			_ = c.Close()
		}
		passed, hashes := time.Since(begun), s.Hasher.Compared()-before
		s.t.Logf("%s: %d after %v and %d hashes", username(i), status, passed.Round(time.Millisecond), hashes)
		if status != http.StatusOK {
			passed = time.Hour
		}
		if hashes > mostHashes {
			late++
		}
		took = append(took, passed)
	}
	slices.Sort(took)
	return took, late
}

// mustPass fails the test unless this many right logins pass in time during a flood, which it then ends.
func (s *served) mustPass(want, of int, username func(i int) string, before float64, end func()) {
	s.t.Helper()
	took, late := s.right(of, username)
	end()
	rate := min(max(before, hashesPerSecond(s.t)), usualRate)
	limit := time.Duration(float64(inTime) * usualRate / rate)
	if testing.Short() {
		limit = time.Minute // the load of other tests changes, so only the number of hashes counts
	}
	passed, inTime := 0, 0
	for _, t := range took {
		if t < time.Hour {
			passed++
		}
		if t <= limit {
			inTime++
		}
	}
	s.t.Logf("%d of %d passed, %d within %v (%.1f hashes a second beside other programs): median %v, max %v",
		passed, of, inTime, limit.Round(time.Millisecond), rate, took[of/2].Round(time.Millisecond), took[of-1].Round(time.Millisecond))
	if inTime < want || late > of-want {
		s.t.Errorf("%d of %d right logins passed in time, and %d waited for more than %d hashes; want %d in time", inTime, of, late, mostHashes, want)
	}
}

func TestGuessesAtUnknownNamesLeaveOthersTheirShare(t *testing.T) {
	s := atDefaults(t)
	hash, err := reference.GenerateFromPassword([]byte(right), password.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	username := func(i int) string { return fmt.Sprint("user-", i) }
	for i := range 10 {
		s.add(username(i), user.Row{PasswordHash: string(hash), Active: true})
	}
	rate := hashesPerSecond(t)
	nobody := func(i int) string { return fmt.Sprint("nobody-", i) }
	connections, want, of := 1024, 9, 10
	if testing.Short() {
		connections, want, of = 128, 4, 5
	}
	one, endOne := s.flood("127.0.0.2", connections, nobody)
	two, endTwo := s.flood("127.0.0.3", connections, nobody)
	s.mustPass(want, of, username, rate, func() { endOne(); endTwo() })
	for _, g := range []*guesses{one, two} {
		t.Logf("of the guesses %d got a 401, %d a 429, %d lost their connection",
			g.refused.Load(), g.busy.Load(), g.failed.Load())
	}
}

func TestGuessesAtAnExemptAccountLeaveItsOwnerAShare(t *testing.T) {
	s := atDefaults(t)
	hash, err := reference.GenerateFromPassword([]byte(right), password.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	s.exempts("robot", string(hash))
	rate := hashesPerSecond(t)
	robot := func(int) string { return "robot" }
	var ends []func()
	for _, from := range []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"} {
		_, end := s.flood(from, 60, robot)
		ends = append(ends, end)
	}
	want, of := 13, 15
	if testing.Short() {
		want, of = 4, 5
	}
	s.mustPass(want, of, robot, rate, func() {
		for _, end := range ends {
			end()
		}
	})
}
