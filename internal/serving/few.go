// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"net/http"
	"time"
)

const tooManyBody = `{"error":{"code":"TOO_MANY_REQUESTS","message":"Too many concurrent requests from one address; try again later"}}`

// FewAtOnce returns a handler that serves a few requests of one address (of IPv6, of one /48) at once, and holds
// connections of refused requests. It is for servers that authenticate clients at another server: otherwise any client
// could choose how often that server is asked.
func FewAtOnce(next http.Handler, each int, hold time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(connKey{}).(*conn)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		answer := &Recorder{ResponseWriter: w}
		if !c.enter(each) {
			w.Header().Set("Retry-After", "1")
			refuse(w, http.StatusTooManyRequests, tooManyBody)
			return // and the connection ends
		}
		func() {
			defer c.leave()
			next.ServeHTTP(answer, r)
		}()
		if answer.Status >= http.StatusBadRequest && !r.Close {
			Hold(r.Context(), w, hold, nil)
		}
	})
}

// enter reports whether one more request of the connection's network may be served.
func (c *conn) enter(each int) bool {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if c.source.site.served >= each {
		return false
	}
	c.source.site.served++
	return true
}

func (c *conn) leave() {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.source.site.served--
}
