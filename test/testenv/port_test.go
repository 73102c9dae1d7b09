// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

func TestPortRefusesConnectionsWhileItsServerDoesNotListen(t *testing.T) {
	p, err := newPort()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}()
	refused := func() {
		t.Helper()
		if _, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.address()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v, want connection refused", err)
		}
	}
	for range 2 {
		refused()
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", p.address())
		if err != nil {
			t.Fatal(err)
		}
		connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.address())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(connection.Close(), listener.Close()); err != nil {
			t.Fatal(err)
		}
	}
	refused()
}
