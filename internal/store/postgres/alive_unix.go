// SPDX-License-Identifier: Apache-2.0

//go:build unix

package postgres

import (
	"errors"
	"net"
	"syscall"
)

// silent reports, by one system call that does not wait, whether there is nothing to read on a connection: no data, no end and no
// error.
func silent(conn net.Conn) bool {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	var peeked error
	// Not by Read, which waits for a reader that the driver may have left. The socket itself never blocks.
	err = raw.Control(func(fd uintptr) {
		_, _, peeked = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
	})
	return err == nil && errors.Is(peeked, syscall.EAGAIN)
}
