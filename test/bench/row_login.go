// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// logIns measures right passwords with one bcrypt each: the logins per second of many clients, beside bcrypt alone on
// all cores, and the time of one login, beside one bcrypt.
func logIns(ctx context.Context, s *stage) ([]Result, error) {
	if err := s.ensureManager(ctx); err != nil {
		return nil, err
	}
	var results []Result
	for _, clients := range s.size.clients {
		result, err := s.logInsOf(ctx, clients)
		if err != nil {
			return nil, err
		}
		results = append(results, *result)
	}
	var alone, pure []float64
	for n := range s.size.repeat {
		one, err := oneHash()
		if err != nil {
			return nil, err
		}
		begun := time.Now()
		if _, err := s.logIn(ctx, n); err != nil {
			return nil, err
		}
		alone, pure = append(alone, milliseconds(time.Since(begun))), append(pure, milliseconds(one))
	}
	lone := Result{
		Row: "login", What: "one login alone, p50", Users: s.users, Value: median(alone), Unit: "ms", Aim: ratioAtMost(1.05),
	}
	lone.against(median(pure), "one bcrypt")
	return append(results, lone), nil
}

// logInsOf measures a number of clients that log in repeatedly.
func (s *stage) logInsOf(ctx context.Context, clients int) (*Result, error) {
	if _, _, err := s.logInsFor(ctx, clients, 0); err != nil { // connects
		return nil, err
	}
	phase, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	var rates, pure []float64
	var all, refused int
	for range s.size.rounds {
		sample := min(s.users, 40)
		took, err := hashing(ctx, sample)
		if err != nil {
			return nil, err
		}
		pure = append(pure, float64(sample)/took.Seconds())
		begun := time.Now()
		passed, busy, err := s.logInsFor(ctx, clients, s.size.window)
		if err != nil {
			return nil, err
		}
		// The last ones end after the window. Their time counts, too.
		rates = append(rates, float64(passed)/time.Since(begun).Seconds())
		all, refused = all+passed, refused+busy
	}
	counters, err := phase.end(ctx, nil)
	if err != nil {
		return nil, err
	}
	result := &Result{
		Row: "login", What: fmt.Sprintf("logins with bcrypt, %d clients", clients), Users: s.users,
		Value: median(rates), Unit: "a second", Aim: ratioAtLeast(1.7), Counters: counters,
	}
	result.against(median(pure), "cores ÷ one bcrypt")
	result.exactly(comparisons, float64(all))
	result.beside("refused as too many", float64(refused))
	result.beside("CPU s of the manager for each", counters[cpuManager]/float64(all))
	return result, nil
}

// logInsFor lets clients log in until the time is over, at least once each. It returns how many succeeded, and how many
// got a 429 and tried again later.
func (s *stage) logInsFor(ctx context.Context, clients int, window time.Duration) (passed, busy int, err error) {
	var tried, through atomic.Int64
	until := time.Now().Add(window)
	err = atOnce(ctx, clients, clients, func(ctx context.Context, _ int) error {
		for {
			ok, err := s.logIn(ctx, int(tried.Add(1)))
			if err != nil {
				return err
			}
			if ok {
				through.Add(1)
			} else if err := pause(ctx, time.Second); err != nil { // what Retry-After says
				return err
			}
			if !time.Now().Before(until) {
				return nil
			}
		}
	})
	return int(through.Load()), int(tried.Load() - through.Load()), err
}

// logIn logs the n-th user in, and reports whether the manager had capacity.
func (s *stage) logIn(ctx context.Context, n int) (bool, error) {
	n %= s.users
	answer, err := s.manager.LogIn(ctx, name(n), s.passwords[n])
	if err == nil && answer.Status == http.StatusTooManyRequests {
		return false, nil
	}
	return true, expect(http.StatusOK, answer, err)
}

// verify measures the requests of a gateway for users that recently logged in: requests per second of the manager's CPU
// time, beside requests that get a 404 over the same TLS and routing.
func verify(ctx context.Context, s *stage) ([]Result, error) {
	if err := s.ensureManager(ctx); err != nil {
		return nil, err
	}
	known := min(s.users, 100)
	basic, bearer, err := s.credentials(ctx, known)
	if err != nil {
		return nil, err
	}
	phase, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	kinds := []struct {
		ask func(context.Context, int) error
		cpu float64 // seconds
	}{
		{ask: s.verifies(basic)},
		{ask: s.verifies(bearer)},
		{ask: func(ctx context.Context, _ int) error {
			answer, err := s.manager.Ask(ctx, http.MethodGet, "/", "", "")
			return expect(http.StatusNotFound, answer, err)
		}},
	}
	for range s.size.rounds {
		for i := range kinds {
			before, err := cpuOf(s.manager.PID())
			if err != nil {
				return nil, err
			}
			if err := atOnce(ctx, 16, s.size.requests, kinds[i].ask); err != nil {
				return nil, err
			}
			after, err := cpuOf(s.manager.PID())
			if err != nil {
				return nil, err
			}
			kinds[i].cpu += after - before
		}
	}
	counters, err := phase.end(ctx, nil)
	if err != nil {
		return nil, err
	}
	all := float64(s.size.requests * s.size.rounds)
	rate := func(i int) float64 { return all / max(kinds[i].cpu, 1./clockTicks) }
	results := []Result{
		{What: "verify of Basic credentials, warm", Value: rate(0), Counters: counters},
		{What: "verify of a token", Value: rate(1)},
	}
	for i := range results {
		results[i].Row, results[i].Users, results[i].Unit, results[i].Aim = "verify", s.users, "a CPU second", ratioAtLeast(0.6)
		results[i].against(rate(2), "a 404")
	}
	results[0].exactly(comparisons, 0)
	results[0].exactly(recognized, all)
	return results, nil
}

// credentials logs users in and returns their Authorization headers.
func (s *stage) credentials(ctx context.Context, n int) (basic, bearer []string, err error) {
	basic, bearer = make([]string, n), make([]string, n)
	err = atOnce(ctx, 8, n, func(ctx context.Context, i int) error {
		basic[i] = "Basic " + base64.StdEncoding.EncodeToString([]byte(name(i)+":"+s.passwords[i]))
		answer, err := s.manager.LogIn(ctx, name(i), s.passwords[i]) // recognised from now on
		var body struct{ Token string }
		if err := expect(http.StatusOK, answer, err); err != nil {
			return err
		}
		err = json.Unmarshal([]byte(answer.Body), &body)
		bearer[i] = "Bearer " + body.Token
		return err
	})
	return basic, bearer, err
}

// verifies sends verify requests with credentials, and checks the returned usernames.
func (s *stage) verifies(credentials []string) func(context.Context, int) error {
	return func(ctx context.Context, i int) error {
		i %= len(credentials)
		answer, err := s.manager.Verify(ctx, credentials[i])
		return whose(name(i), answer, err)
	}
}

func whose(username string, answer testenv.Answer, err error) error {
	if who := answer.Header.Get("X-Auth-Username"); err == nil && who != username {
		err = fmt.Errorf("verify took %s for %q, with status %d", username, who, answer.Status)
	}
	return err
}
