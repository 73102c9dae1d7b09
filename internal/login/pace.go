// SPDX-License-Identifier: Apache-2.0

package login

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/serving"
)

const (
	// refusalsPerCore is the number of refusals and API descriptions that an address gets each second for each hashing core, for
	// about 1 % of its time. refusalBurst is the number that it gets at once.
	refusalsPerCore = 100
	refusalBurst    = 1000

	// retryAfter is the time that a connection is held after a 429: at least the shortest Retry-After.
	retryAfter  = time.Second
	longestHold = 10 * time.Second
)

// paced limits the rate of requests that compute no hash. It answers at once, and delays reading the next request of the
// connection. Otherwise thousands of connections that retry at once would take the cores from hashing.
func paced(next http.Handler, s *Service, trusted []netip.Prefix) http.Handler {
	if s.refusals == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &serving.Recorder{ResponseWriter: w}
		next.ServeHTTP(answer, r)
		free := answer.Status >= http.StatusBadRequest || r.URL.Path == documentPath || r.URL.Path == keySetPath
		if !free || r.Close { // a connection that closes has no next request
			return
		}
		hold := s.refusals.delay(sourceOf(r, trusted), s.Now(), longestHold)
		if answer.Status == http.StatusTooManyRequests {
			hold = max(hold, retryAfter)
		}
		if hold > 0 {
			serving.Hold(r.Context(), w, hold, s.queue.closed)
		}
	})
}
