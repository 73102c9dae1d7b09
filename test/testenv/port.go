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

// A port is a port of the loopback interface, reserved for one server. Otherwise another program could get it while the
// server starts or is stopped.
//
// On Linux, a bound socket that does not listen reserves the port. Connections are refused as without the socket. The server
// can listen beside it, since both set SO_REUSEADDR (as Go, Postgres and nginx do), but Linux never assigns the port to a
// program that asks for any free one. Elsewhere the socket would block the server, so the port is not reserved: it was free
// a moment ago, and callers have to retry with another one.
type port struct {
	number string
	keeper *os.File // nil if the port is not reserved
}

func newPort() (_ *port, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("find a free port: %w", err)
		}
	}()
	syscall.ForkLock.RLock() // a child must not inherit the socket before it is close-on-exec
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

// address returns host:port.
func (p *port) address() string { return net.JoinHostPort("127.0.0.1", p.number) }

// close releases the port. It may be called again.
func (p *port) close() error {
	if p.keeper == nil {
		return nil
	}
	err := p.keeper.Close()
	p.keeper = nil
	return err
}
