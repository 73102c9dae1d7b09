// SPDX-License-Identifier: Apache-2.0

package serving

import "time"

// After the listener is closed, a client may keep its connection waiting for this long, so that a client that does not
// read its response cannot delay the end of the process.
const (
	closingTime  = 5 * time.Second
	closingCheck = time.Second
)

// Close implements [net.Listener].
func (l *listener) Close() error {
	err := l.Listener.Close()
	l.dropLate()
	return err
}

// dropLate drops connections that have waited too long, until all connections are closed.
func (l *listener) dropLate() {
	var late []*conn
	l.mu.Lock()
	for e := l.waiting.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*conn); time.Since(c.since) >= closingTime {
			late = append(late, c)
		}
	}
	for _, c := range late {
		l.remove(c)
	}
	if l.open > 0 {
		time.AfterFunc(closingCheck, l.dropLate)
	}
	l.mu.Unlock()
	for _, c := range late {
		l.drop(c)
	}
}
