// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
)

// A port of the loopback interface that is kept for one server, whether that listens just now or not: else any program's
// next connection, or the next server that asks for a free port, might get it while its own server starts or is away.
//
// What keeps it is a socket that is bound to it and does not listen. Connections are refused as if there were none. Linux
// lets a server listen beside it, as both allow the address to be used again (SO_REUSEADDR, which Go, Postgres and nginx
// all set), but gives the port to nobody who has no wish for a certain one. Elsewhere the socket would be in the way: there
// the port is merely one that was free a moment ago, and whoever uses it must be ready to ask for another.
type port struct {
	number string
	keeper *os.File // nil where nothing keeps it
}

func newPort() (_ *port, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("find a free port: %w", err)
		}
	}()
	syscall.ForkLock.RLock() // no child may get the socket before it is marked
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(socket)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, err
	}
	p := &port{keeper: os.NewFile(uintptr(socket), "port")}
	defer func() {
		if err != nil || runtime.GOOS != "linux" {
			err = errors.Join(err, p.close())
		}
	}()
	if err := syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return nil, err
	}
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return nil, err
	}
	address, err := syscall.Getsockname(socket)
	if err != nil {
		return nil, err
	}
	inet, ok := address.(*syscall.SockaddrInet4)
	if !ok {
		return nil, fmt.Errorf("the address is a %T", address)
	}
	p.number = strconv.Itoa(inet.Port)
	return p, nil
}

// address is host:port.
func (p *port) address() string { return net.JoinHostPort("127.0.0.1", p.number) }

// close gives the port back. It may be called again.
func (p *port) close() error {
	if p.keeper == nil {
		return nil
	}
	err := p.keeper.Close()
	p.keeper = nil
	return err
}
