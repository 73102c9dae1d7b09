// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"time"
)

// passwords has when which password of which user may be accepted. A change takes effect with a delay: the former state
// stays valid until the new one was observed everywhere.
type passwords struct {
	valid    map[string][]validity
	intended map[string]string // the password of the spec; empty for none
}

type validity struct {
	password string
	span
	sure    time.Time // when it was known to be in force everywhere; zero before
	doubted time.Time // when another one was requested or written; zero if none was
}

func newPasswords() passwords {
	return passwords{valid: map[string][]validity{}, intended: map[string]string{}}
}

// intend records that the user is to have this password, or none, before it is requested.
func (p *passwords) intend(user, password string, at time.Time) {
	if p.intended[user] != password {
		p.doubt(user, at)
	}
	p.intended[user] = password
	p.open(user, password, at)
}

// doubt records that the current password may no longer be in force, because a running attempt may find another row.
func (p *passwords) doubt(user string, at time.Time) {
	for i, v := range p.valid[user] {
		if v.doubted.IsZero() {
			p.valid[user][i].doubted = at
		}
	}
}

// admit records that a password may be accepted from now on without a request: another program writes to the row.
func (p *passwords) admit(user, password string, at time.Time) {
	p.doubt(user, at)
	p.open(user, password, at)
}

func (p *passwords) open(user, password string, at time.Time) {
	open := func(v validity) bool { return v.password == password && v.To.IsZero() }
	if password == "" || slices.ContainsFunc(p.valid[user], open) {
		return
	}
	p.valid[user] = append(p.valid[user], validity{password: password, span: span{From: at}})
}

// settle records that the intended password is in force everywhere, and no other.
func (p *passwords) settle(user string, at time.Time) {
	for i, v := range p.valid[user] {
		switch {
		case !v.To.IsZero():
		case v.password != p.intended[user]:
			p.valid[user][i].To = at
		case v.sure.IsZero(), !v.doubted.IsZero():
			p.valid[user][i].sure, p.valid[user][i].doubted = at, time.Time{}
		}
	}
}

// acceptable reports whether the password could be accepted at some moment between these two.
func (p *passwords) acceptable(user, password string, from, to time.Time) bool {
	return slices.ContainsFunc(p.valid[user], func(v validity) bool { return v.password == password && v.touches(from, to) })
}

// certain reports whether the password, and no other, was in force everywhere between two moments.
func (p *passwords) certain(user, password string, from, to time.Time) bool {
	is := false
	for _, v := range p.valid[user] {
		switch {
		case !v.touches(from, to):
		case v.password != password, v.sure.IsZero(), v.sure.After(from), !v.doubted.IsZero() && !v.doubted.After(to):
			return false
		default:
			is = true
		}
	}
	return is
}

// former returns a password of the user that is not the intended one; empty if there is none.
func (p *passwords) former(user string) string {
	for _, v := range slices.Backward(p.valid[user]) {
		if v.password != p.intended[user] {
			return v.password
		}
	}
	return ""
}
