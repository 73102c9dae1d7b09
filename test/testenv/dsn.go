// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// withDatabase is the DSN, a URL or keywords, with another database.
func withDatabase(dsn, database string) (string, error) {
	return change(dsn, func(u *url.URL) { u.Path = "/" + database }, "dbname="+database)
}

// withUser is the DSN, a URL or keywords, with another user.
func withUser(dsn, name, password string) (string, error) {
	return change(dsn, func(u *url.URL) { u.User = url.UserPassword(name, password) }, "user="+name+" password="+password)
}

// WithAddr is the DSN, a URL or keywords, with another address: that of a Proxy, say.
func WithAddr(dsn, addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("change a DSN: %w", err)
	}
	return change(dsn, func(u *url.URL) { u.Host = addr }, "host="+host+" port="+port)
}

// addrOf is the address of a DSN's server, the first where there are several.
func addrOf(dsn string) (string, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return "", fmt.Errorf("read a DSN: %w", err)
	}
	return net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))), nil
}

// change edits a URL by the function, and keywords by more of them, since the last of a kind counts.
func change(dsn string, edit func(*url.URL), keywords string) (string, error) {
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		return dsn + " " + keywords, nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", fmt.Errorf("change a DSN: it is no URL") // the parser's own error would hold the password
	}
	edit(u)
	return u.String(), nil
}
