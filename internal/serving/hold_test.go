// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"net/http"
	"runtime"
	"testing"
	"time"
)

const heldRequest = "GET /hold HTTP/1.1\r\nHost: x\r\nUser-Agent: x\r\n\r\n"

// With the first byte of a next request in its buffer, net/http does not detect that a connection ended.
func TestAHoldEndsWithItsConnection(t *testing.T) {
	w := newWorld(t, 4)
	c := w.dial("192.0.2.1")
	c.send(heldRequest)
	if status := c.status(); status != http.StatusOK {
		t.Fatalf("%d", status)
	}
	c.send("G")
	w.until("the next request has begun and the connection is held", func(l *listener) bool {
		return w.read.Load() == int64(len(heldRequest)+1) && l.waiting.Len() == 1
	})
	w.dial("192.0.2.1")
	w.dial("192.0.2.1") // the third one of this address
	c.sentAway()
	select {
	case <-w.held:
	case <-time.After(patience):
		t.Error("a connection that is gone is held")
		close(w.goOn)
	}
}

// A header can take a megabyte, and all connections can be held.
func TestAHeldConnectionKeepsNoHeader(t *testing.T) {
	w := newWorld(t, 4)
	c := w.dial("192.0.2.1")
	defer close(w.goOn)
	c.send(heldRequest)
	if status := c.status(); status != http.StatusOK {
		t.Fatalf("%d", status)
	}
	header := <-w.headers
	for end := time.Now().Add(patience); header.Value() != nil; runtime.GC() {
		if time.Now().After(end) {
			t.Fatal("the header is still in memory")
		}
	}
}
