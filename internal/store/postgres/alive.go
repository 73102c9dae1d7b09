// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// shouldPing reports whether a connection of the pool is pinged before it is used: if it was idle for a second, since TCP does
// not report a lost peer, and if data arrived that no call waits for, which most often is its end. A statement that is sent on
// a dead connection may have been executed. Without a connection it was not.
func shouldPing(_ context.Context, params pgxpool.ShouldPingParams) bool {
	return params.IdleDuration > time.Second || !silent(bare(params.Conn.PgConn().Conn()))
}

// bare is the connection under TLS.
func bare(conn net.Conn) net.Conn {
	if secured, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return secured.NetConn()
	}
	return conn
}
