// SPDX-License-Identifier: Apache-2.0

package login

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// sourceOf returns the client's address: that of the connection or, while that is a trusted proxy, the one that the proxy
// reports. Trusted proxies wrote only the right end of X-Forwarded-For, so the search goes from the right and ends at the first
// hop that is no valid address.
func sourceOf(r *http.Request, trusted []netip.Prefix) netip.Addr {
	source := addressIn(r.RemoteAddr)
	if !within(source, trusted) {
		return source
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		address := addressIn(strings.TrimSpace(hop))
		if !address.IsValid() {
			break
		}
		source = address
		if !within(source, trusted) {
			break
		}
	}
	return source
}

// addressIn returns the address in a text with or without a port, or an invalid one.
func addressIn(text string) netip.Addr {
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return withPort.Addr().Unmap().WithZone("")
	}
	address, _ := netip.ParseAddr(strings.Trim(text, "[]"))
	return address.Unmap().WithZone("")
}

func within(address netip.Addr, prefixes []netip.Prefix) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(address) })
}
