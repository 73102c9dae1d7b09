// SPDX-License-Identifier: Apache-2.0

package login

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/serving"
)

const (
	// refusalsPerCore is how many refusals and API descriptions a second one address gets for each hashing core, about a
	// hundredth of its time, and refusalBurst how many at once.
	refusalsPerCore = 100
	refusalBurst    = 1000

	// retryAfter is how long a connection is held after a 429: no less than the shortest Retry-After.
	retryAfter  = time.Second
	longestHold = 10 * time.Second
)

// paced holds connections on which requests that need no password come faster than they may. The answer is sent at once,
// and the next request is not read before its time: thousands of connections that ask again at once would leave hashing no
// core.
func paced(next http.Handler, s *Service, trusted []netip.Prefix) http.Handler {
	if s.refusals == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &serving.Recorder{ResponseWriter: w}
		next.ServeHTTP(answer, r)
		free := answer.Status >= http.StatusBadRequest || r.URL.Path == documentPath
		if !free || r.Close { // a client that has no next request here may wait for the end
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
