// SPDX-License-Identifier: Apache-2.0

package login

import (
	"strings"
	"testing"
	"time"
)

// A client that does not read its answers must not delay the end of the process.
func TestAClientThatDoesNotReadDelaysNoShutdown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := start(t, w, ServerOptions{})
	c := s.connect()
	asks := strings.Repeat("GET "+documentPath+" HTTP/1.1\r\nHost: x\r\n\r\n", 100)
	_ = c.SetWriteDeadline(time.Now().Add(2 * time.Second))
	for { // until the server stops reading too
		if _, err := c.Write([]byte(asks)); err != nil {
			break
		}
	}
	s.stop()
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
	close(s.ended)
}
