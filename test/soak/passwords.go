// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"time"
)

// passwords is when which password of which user may be accepted. A change is not in force at once: what was valid before
// stays so until the new state was seen to be in force everywhere.
type passwords struct {
	valid    map[string][]validity
	intended map[string]string // the one that the resource asks for; empty for none
}

type validity struct {
	password string
	span
	sure    time.Time // since when it is known to be in force everywhere; zero while it is not
	doubted time.Time // since when something else was asked for or written; zero where nothing was since then
}

func newPasswords() passwords {
	return passwords{valid: map[string][]validity{}, intended: map[string]string{}}
}

// intend notes, before it is asked for, that the user is to have this password, or none that is accepted.
func (p *passwords) intend(user, password string, at time.Time) {
	if p.intended[user] != password {
		p.doubt(user, at)
	}
	p.intended[user] = password
	p.open(user, password, at)
}

// doubt notes that what is in force may not be any more: the attempt that is under way may find the row to be another one.
func (p *passwords) doubt(user string, at time.Time) {
	for i, v := range p.valid[user] {
		if v.doubted.IsZero() {
			p.valid[user][i].doubted = at
		}
	}
}

// admit notes that a password may be accepted from now on without having been asked for: another program writes to the row.
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

// settle notes that what is intended has come to be in force everywhere, and so nothing else.
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

// acceptable tells whether the password was one that could be accepted at some moment between these two.
func (p *passwords) acceptable(user, password string, from, to time.Time) bool {
	return slices.ContainsFunc(p.valid[user], func(v validity) bool { return v.password == password && v.touches(from, to) })
}

// certain tells whether the password was the one in force everywhere, and no other one could be, from one moment to the other.
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

// former is a password of the user that is not the intended one; empty where there is none.
func (p *passwords) former(user string) string {
	for _, v := range slices.Backward(p.valid[user]) {
		if v.password != p.intended[user] {
			return v.password
		}
	}
	return ""
}
