// SPDX-License-Identifier: Apache-2.0

// Package serving is what the process's servers (logins, metrics, probes) have in common: which TLS they speak, and how
// much of the process a client can take.
//
// # Connections
//
// A request is ours to serve once its header and its body are complete. Until then its connection waits for the client, as
// it does while the client does not read an answer, and between requests.
//
// A server has so many connections and no more. At the limit a new connection replaces a waiting one: of the address (of
// IPv6 the /48, then the /64) with the most waiting connections, the one that has waited longest. So a few addresses only
// replace connections of their own, however fast they connect. A connection whose request is being served is never replaced.
//
// One address has half of the connections at most, and beyond that replaces its own. Where there are trusted proxies, each
// of which stands for many clients, a quarter is kept for them, and half is no limit to them.
//
// A connection that ends before its request is complete is read on for a while. The kernel would reset it otherwise, and
// the client would lose the answer.
//
// # Memory
//
// Of a header, net/http makes up to sixteen times its size: 64 KiB of one-letter fields take a megabyte, before any handler
// runs. So of the requests that are on their way, only a few may be larger than usual. A body has 16 KiB at most.
//
// # HTTP/2
//
// There is none. One of its connections carries any number of requests, which can be begun and taken back for next to
// nothing (CVE-2023-44487), and headers without end (CVE-2023-45288); none of the limits above would count. Gateways and
// Prometheus ask by HTTP/1.1 as well, and have nothing to gain: an answer is a few hundred bytes.
package serving
