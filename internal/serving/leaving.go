// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"net/http"
	"sync/atomic"
)

// Leaving is the state of a server that ends soon and still serves. Its zero value has not begun.
//
// [http.Server.SetKeepAlivesEnabled] is not used for this: it closes idle connections at once, while a request may be on its
// way on one of them.
type Leaving struct{ begun atomic.Bool }

// Begin makes each response from now on close its connection.
func (l *Leaving) Begin() { l.begun.Store(true) }

// Handler returns the handler with responses that close their connections after Begin.
func (l *Leaving) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l.begun.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
