// SPDX-License-Identifier: Apache-2.0

// Package serving is what the servers of the process (logins, metrics, probes) share: TLS, the reload of certificates
// and other mounted files, and limits for clients.
//
// # Connections
//
// The server serves a request when its header and body are complete. Until then its connection waits for the client. It
// also waits while the client does not read a response, and between requests.
//
// A server has a maximum number of connections. At the limit a new connection replaces a waiting one: the
// longest-waiting one of the address (of IPv6 the /48, then the /64) with the most waiting connections. So a few
// addresses only replace their own connections, however fast they connect. A connection whose request is being served
// is never replaced.
//
// One address has at most half of the connections, and then replaces its own. Each trusted proxy stands for many
// clients, so a quarter is reserved for trusted proxies, and they may have more than half.
//
// If a connection ends before its request is complete, the server reads on for a while. Otherwise the kernel would
// reset it, and the client would lose the response.
//
// # Memory
//
// net/http needs up to sixteen times the size of a header: 64 KiB of one-letter fields take a megabyte, before any
// handler runs. So only a few concurrent requests may be larger than usual. A body has at most 16 KiB.
//
// # HTTP/2
//
// HTTP/2 is off. One connection carries any number of requests, which a client can begin and cancel at almost no cost
// (CVE-2023-44487), and endless headers (CVE-2023-45288); none of the limits above would count. Gateways and Prometheus
// use HTTP/1.1 as well and lose nothing, because a response has a few hundred bytes.
package serving
