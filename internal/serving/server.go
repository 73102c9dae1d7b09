// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"
)

// Each wait for a client has a bound of its own, and all of them together, but for that for the next request, stay below a
// minute. A handshake has as long as a header.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = time.Minute
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10 // gateways pass on their clients' cookies
)

// NewServer returns a server by these limits, with TLS unless there is no configuration of it. The number of connections is
// limited where it serves a listener of [Limit].
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
		// net/http's own answer to OPTIONS * would know none of the handler's limits.
		DisableGeneralOptionsHandler: true,
		// Any client can make any number of these, by a handshake that fails.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
