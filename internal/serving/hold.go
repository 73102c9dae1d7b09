// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"context"
	"net/http"
	"time"
)

// Hold sends the response and then delays the next request of the connection, until the time is over, the connection is
// closed or end is closed. The connection waits meanwhile, so it is dropped when the limit is reached. Connections of
// trusted proxies are not held, because the next request may come from another client.
func Hold(ctx context.Context, w http.ResponseWriter, d time.Duration, end <-chan struct{}) {
	c, ok := ctx.Value(connKey{}).(*conn)
	if !ok || c.trusted || http.NewResponseController(w).Flush() != nil {
		return
	}
	c.await()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-c.gone: // ctx does not end where net/http has read a byte of the next request
	case <-end:
	}
}

// A Recorder records the status of a response, by which a connection can be held.
type Recorder struct {
	http.ResponseWriter
	Status int
}

// WriteHeader implements [http.ResponseWriter].
func (r *Recorder) WriteHeader(status int) {
	r.Status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (r *Recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
