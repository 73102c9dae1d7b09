// SPDX-License-Identifier: Apache-2.0

// Package fair shares a scarce resource out by network, source address and account: the least recently served goes first,
// and the one that holds the most is dropped first.
//
// A network is an address or, of IPv6, a /48, which is what one site gets; a source is an address or, of IPv6, a /64. So
// neither a site with 65,536 sources, nor a source with any number of names, nor one name from any number of sources has
// more than one share.
package fair

import (
	"cmp"
	"net/netip"
)

// A Key says for whom something is done.
type Key struct {
	Source  netip.Addr
	Account [32]byte // a fingerprint of the username
}

// SourceOf returns the source that an address belongs to. An invalid address is a source too.
func SourceOf(address netip.Addr) netip.Prefix { return within(address, 64) }

// NetworkOf returns the network that an address belongs to: what one client can have of addresses.
func NetworkOf(address netip.Addr) netip.Prefix { return within(address, 48) }

func within(address netip.Addr, ofIPv6 int) netip.Prefix {
	bits := address.BitLen()
	if address.Is6() {
		bits = ofIPv6
	}
	prefix, _ := address.Prefix(bits)
	return prefix
}

// A Ledger knows the claims on one resource and the turns that were taken lately. Its callers hold a lock.
type Ledger struct {
	parties map[name]*party
	turns   []*Claim // the last ones that were served, as a ring
	served  uint64
	arrived uint64
}

// name is that of a network, a source or an account.
type name struct {
	kind    byte
	prefix  netip.Prefix
	account [32]byte
}

// party is one network, source or account.
type party struct {
	name
	holds int    // claims that were not released
	turn  uint64 // when it was last served; 0 for never, or so long ago that it does not matter
}

// A Claim is one use of the resource, from its arrival until it is released.
type Claim struct {
	network, source, account *party
	arrival, turn            uint64
}

// NewLedger returns a Ledger that remembers so many turns. It has to be more than the claims that may wait at once.
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
			if p.turn == old.turn { // it had none since
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

// Served returns how many turns there were.
func (l *Ledger) Served() uint64 { return l.served }

// forget keeps the memory bounded by the claims that there are and the turns that are remembered.
func (l *Ledger) forget(p *party) {
	if p.holds == 0 && p.turn == 0 {
		delete(l.parties, p.name)
	}
}

func (c *Claim) parties() [3]*party { return [...]*party{c.network, c.source, c.account} }

// Holds is how many claims the account of this one has.
func (c *Claim) Holds() int { return c.account.holds }

// Before tells whether c is to be served before another claim: the one whose network and account were both served less
// recently. Among those of one network, or on one account, the source decides, then the account, then the arrival.
func (c *Claim) Before(other *Claim) bool {
	return cmp.Or(
		cmp.Compare(max(c.network.turn, c.account.turn), max(other.network.turn, other.account.turn)),
		cmp.Compare(c.source.turn, other.source.turn),
		cmp.Compare(c.account.turn, other.account.turn),
		cmp.Compare(c.arrival, other.arrival),
	) < 0
}

// Outweighs tells whether c is to be dropped rather than another claim: the one whose network or account holds more, then
// the one whose source does, then the one that would be served later.
func (c *Claim) Outweighs(other *Claim) bool {
	order := cmp.Or(
		cmp.Compare(max(c.network.holds, c.account.holds), max(other.network.holds, other.account.holds)),
		cmp.Compare(c.source.holds, other.source.holds),
	)
	return order > 0 || order == 0 && other.Before(c)
}
