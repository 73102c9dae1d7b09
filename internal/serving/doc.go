// SPDX-License-Identifier: Apache-2.0

// Package serving is what the process's servers (log-ins, metrics, probes) have in common: which TLS they speak, and how
// much of the process a client can take.
//
// # Connections
//
// A server has so many connections and no more. Where another one comes, it is let in, and the one goes whose client has
// kept us waiting for longest: for a handshake, for the rest of a header, or for its next request. So connections that do
// nothing, or do it slowly, keep nobody out, however many there are. Nobody is sent away whose request is being served.
//
// One address has half of the connections at the most, and drives out none but its own beyond that. Where there are
// trusted proxies, each of which stands for many clients, a quarter is kept for them, and half is no limit to them.
//
// # Memory
//
// Of a header, net/http makes up to sixteen times its size: 64 KiB of one-letter fields take a megabyte, before any handler
// can have a say. So of the headers that are on their way, only a few may be larger than what is usual.
//
// # HTTP/2
//
// There is none. One of its connections carries any number of requests, which can be begun and taken back for next to
// nothing (CVE-2023-44487), and headers without end (CVE-2023-45288); none of the limits above would count. Gateways and
// Prometheus ask by HTTP/1.1 as well, and have nothing to gain: an answer is a few hundred bytes.
package serving
