// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// shouldPing reports whether a connection of the pool is to be asked whether it is still there before it is used: when it was
// idle for a second, since TCP does not tell, and when something has come on it that nobody waits for, which mostly is its
// end. A statement that is sent on a dead connection may have been executed, for all that one knows; one for which there
// was no connection was not.
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
