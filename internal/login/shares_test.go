// SPDX-License-Identifier: Apache-2.0

package login

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	reference "golang.org/x/crypto/bcrypt"

	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// atDefaults is a server as the manager has it without any setting, on two cores.
func atDefaults(t *testing.T) *served {
	t.Helper()
	return start(t, newWorld(t, func(o *Options) {
		o.Hasher = password.NewHasher(password.MinCost, 2)
		o.SourceRate, o.SourceBurst = -1, 200
		o.Now = time.Now
	}), ServerOptions{MaxConnections: 2048})
}

// from is a client at an address of this machine.
func (s *served) from(address string, connections int) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		MaxIdleConnsPerHost: connections,
	}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// tries makes one attempt, and returns the status, 0 where the connection failed.
func (s *served) tries(ctx context.Context, client *http.Client, username, password string) int {
	body := strings.NewReader(`{"username":"` + username + `","password":"` + password + `"}`)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+s.address+loginPath, body)
	if err != nil {
		s.t.Error(err)
		return 0
	}
	answer, err := client.Do(request)
	if err != nil {
		if password == right {
			s.t.Log(err)
		}
		return 0
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

// flood guesses from an address on so many connections until the test ends, and asks again at once.
func (s *served) flood(address string, connections int, username func(i int) string) *sync.Map {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	counts := &sync.Map{}
	s.t.Cleanup(func() {
		cancel()
		all.Wait()
		counts.Range(func(k, v any) bool { s.t.Log(address, k, v.(*atomic.Int64).Load()); return true })
	})
	count := func(k any) {
		v, _ := counts.LoadOrStore(k, new(atomic.Int64))
		v.(*atomic.Int64).Add(1)
	}
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}},
		Config:    &tls.Config{InsecureSkipVerify: true},
	}
	for c := range connections {
		all.Go(func() {
			i := c
			for ctx.Err() == nil {
				connection, err := dialer.DialContext(ctx, "tcp", s.address)
				if err != nil {
					count("dial")
					continue
				}
				stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
				for r := bufio.NewReader(connection); ; i += connections {
					_, _ = io.WriteString(connection, posted(username(i), wrong, ""))
					answer, err := http.ReadResponse(r, nil)
					if err != nil {
						count("read")
						break
					}
					count(answer.StatusCode)
					_, _ = io.Copy(io.Discard, answer.Body)
				}
				stop()
				_ = connection.Close()
			}
		})
	}
	return counts
}

// answered logs in so many users, one after the other and each from an address of its own, and returns how many were let in
// within 2 s, and the times.
func (s *served) answered(usernames ...string) (n int, times []time.Duration) {
	for i, username := range usernames {
		client := s.from(fmt.Sprintf("127.0.1.%d", i+1), 1)
		begun := time.Now()
		var conn time.Duration
		before := s.Hasher.Compared()
		ctx := httptrace.WithClientTrace(s.t.Context(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { conn = time.Since(begun) }})
		status := s.tries(ctx, client, username, right)
		took := time.Since(begun)
		s.t.Log("connected after", conn, "done", took, "hashes", s.Hasher.Compared()-before)
		if status == http.StatusOK && took <= 2*time.Second {
			n++
		} else {
			s.t.Logf("%s: %d after %v", username, status, took)
		}
		times = append(times, took)
	}
	slices.Sort(times)
	return n, times
}

func (s *served) users(n int) (names []string) {
	s.t.Helper()
	hash, err := reference.GenerateFromPassword([]byte(right), password.MinCost)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range n {
		names = append(names, fmt.Sprint("user-", i))
		s.add(names[i], user.Row{PasswordHash: string(hash), Active: true})
	}
	return names
}

func TestGuessesAtNamesFromTwoAddresses(t *testing.T) {
	s := atDefaults(t)
	users := s.users(10)
	for _, address := range []string{"127.0.0.2", "127.0.0.3"} {
		s.flood(address, 1024, func(i int) string { return fmt.Sprint("nobody-", address, i) })
	}
	time.Sleep(3 * time.Second)
	n, times := s.answered(users...)
	t.Logf("%d of %d, median %v, max %v", n, len(users), times[len(times)/2], times[len(times)-1])
	if n < 9 {
		t.Error("few")
	}
}
