// SPDX-License-Identifier: Apache-2.0

package observer

import (
	"maps"
	"slices"
)

// Bounds of the notified usernames that are kept: any role of the database may notify. A sweep finds what is dropped beyond them.
const (
	mostPending      = 20_000
	mostPendingBytes = 4 << 20
)

// pending is a bounded set of usernames. The zero value is an empty one.
type pending struct {
	names map[string]struct{}
	bytes int
}

// add adds a username, and reports whether it is in the set: it is not where there is no room.
func (p *pending) add(username string) bool {
	if _, ok := p.names[username]; ok {
		return true
	}
	if len(p.names) >= mostPending || p.bytes+len(username) > mostPendingBytes {
		return false
	}
	if p.names == nil {
		p.names = map[string]struct{}{}
	}
	p.names[username] = struct{}{}
	p.bytes += len(username)
	return true
}

// addAll adds all of another set, and reports whether there was room.
func (p *pending) addAll(other pending) bool {
	hasRoom := true
	for username := range other.names {
		hasRoom = p.add(username) && hasRoom
	}
	return hasRoom
}

// isHalfFull reports whether it is time for a sweep, so that nothing has to be dropped.
func (p *pending) isHalfFull() bool {
	return len(p.names) >= mostPending/2 || p.bytes >= mostPendingBytes/2
}

// take empties the set, and returns what was in it.
func (p *pending) take() []string {
	usernames := slices.Collect(maps.Keys(p.names))
	*p = pending{} // not the room of many
	return usernames
}
