// SPDX-License-Identifier: Apache-2.0

package login

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// sourceOf is the client's address: that of the connection or, as long as that is a trusted proxy's, the one that the
// proxy saw. Only the right end of X-Forwarded-For was written by somebody whom one can trust; what cannot be read there
// ends the search.
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

// addressIn is an address with or without a port, or no valid one.
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
