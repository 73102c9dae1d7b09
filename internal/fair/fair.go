// SPDX-License-Identifier: Apache-2.0

// Package fair shares a scarce resource by network, source address and account. The least recently served claim is
// next, and the largest holder is dropped first.
//
// A network is an IPv4 address or an IPv6 /48, the allocation of one site. A source is an IPv4 address or an IPv6 /64.
// So one share is all that a site with 65,536 sources gets, or a source with many usernames, or a username with many
// sources.
package fair

import (
	"cmp"
	"net/netip"
)

// A Key identifies the source and the account of a claim.
type Key struct {
	Source  netip.Addr
	Account [32]byte // a fingerprint of the username
}

// SourceOf returns the source of an address. Invalid addresses share one source.
func SourceOf(address netip.Addr) netip.Prefix { return within(address, 64) }

// NetworkOf returns the network of an address.
func NetworkOf(address netip.Addr) netip.Prefix { return within(address, 48) }

func within(address netip.Addr, ofIPv6 int) netip.Prefix {
	bits := address.BitLen()
	if address.Is6() {
		bits = ofIPv6
	}
	prefix, _ := address.Prefix(bits)
	return prefix
}

// A Ledger records the claims on one resource and the latest turns. Callers must hold a lock.
type Ledger struct {
	parties map[name]*party
	turns   []*Claim // a ring of the latest served claims
	served  uint64
	arrived uint64
}

// name identifies a network, a source or an account.
type name struct {
	kind    byte
	prefix  netip.Prefix
	account [32]byte
}

// party is a network, source or account.
type party struct {
	name
	holds int    // claims that are not released
	turn  uint64 // when it was last served; 0 for never or long ago
}

// A Claim is one use of the resource, from its arrival until its release.
type Claim struct {
	network, source, account *party
	arrival, turn            uint64
}

// NewLedger returns a Ledger that remembers the given number of turns, which must exceed the number of waiting claims.
func NewLedger(remembered int) *Ledger {
	return &Ledger{parties: map[name]*party{}, turns: make([]*Claim, remembered)}
}

// Claim returns a new claim.
func (l *Ledger) Claim(k Key) *Claim {
	l.arrived++
	return &Claim{
		network: l.party(name{kind: 'n', prefix: NetworkOf(k.Source)}),
		source:  l.party(name{kind: 's', prefix: SourceOf(k.Source)}),
		account: l.party(name{kind: 'a', account: k.Account}),
		arrival: l.arrived,
	}
}

func (l *Ledger) party(n name) *party {
	p := l.parties[n]
	if p == nil {
		p = &party{name: n}
		l.parties[n] = p
	}
	p.holds++
	return p
}

// Release ends a claim, whether or not it was served.
func (l *Ledger) Release(c *Claim) {
	for _, p := range c.parties() {
		p.holds--
		l.forget(p)
	}
}

// Serve records that a claim has its turn.
func (l *Ledger) Serve(c *Claim) {
	at := &l.turns[l.served%uint64(len(l.turns))]
	if old := *at; old != nil {
		for _, p := range old.parties() {
			if p.turn == old.turn { // no later turn
				p.turn = 0
				l.forget(p)
			}
		}
	}
	*at = c
	l.served++
	c.turn = l.served
	for _, p := range c.parties() {
		p.turn = l.served
	}
}

// Served returns the number of turns.
func (l *Ledger) Served() uint64 { return l.served }

// forget limits the memory to existing claims and remembered turns.
func (l *Ledger) forget(p *party) {
	if p.holds == 0 && p.turn == 0 {
		delete(l.parties, p.name)
	}
}

func (c *Claim) parties() [3]*party { return [...]*party{c.network, c.source, c.account} }

// Holds returns the number of claims of this account.
func (c *Claim) Holds() int { return c.account.holds }

// Before reports whether c is served before another claim: its network and account were both served less recently.
// Within one network, or for one account, the source decides, then the account, then the arrival.
func (c *Claim) Before(other *Claim) bool {
	return cmp.Or(
		cmp.Compare(max(c.network.turn, c.account.turn), max(other.network.turn, other.account.turn)),
		cmp.Compare(c.source.turn, other.source.turn),
		cmp.Compare(c.account.turn, other.account.turn),
		cmp.Compare(c.arrival, other.arrival),
	) < 0
}

// Outweighs reports whether c is dropped before another claim: its network or account holds more, then its source, then
// it would be served later.
func (c *Claim) Outweighs(other *Claim) bool {
	order := cmp.Or(
		cmp.Compare(max(c.network.holds, c.account.holds), max(other.network.holds, other.account.holds)),
		cmp.Compare(c.source.holds, other.source.holds),
	)
	return order > 0 || order == 0 && other.Before(c)
}
