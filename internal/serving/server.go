// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"
)

// Each wait for a client has its own limit. All of them together, without the wait for the next request, are below a
// minute. A handshake has as long as a header.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = time.Minute
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10 // gateways pass on their clients' cookies
)

// NewServer returns a server with these limits, with TLS unless its configuration is nil. The number of connections is
// limited if it serves a listener of [Limit].
func NewServer(handler http.Handler, config *tls.Config, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           CompleteRequests(handler),
		TLSConfig:         config,
		Protocols:         protocols,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnContext:       remember,
		ConnState:         follow,
		// net/http's own response to OPTIONS * ignores the handler's limits.
		DisableGeneralOptionsHandler: true,
		// Any client can cause any number of these by a failing handshake.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
