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

// withDatabase returns the DSN, a URL or keywords, with another database.
func withDatabase(dsn, database string) (string, error) {
	return change(dsn, func(u *url.URL) { u.Path = "/" + database }, "dbname="+database)
}

// withUser returns the DSN, a URL or keywords, with another user.
func withUser(dsn, name, password string) (string, error) {
	return change(dsn, func(u *url.URL) { u.User = url.UserPassword(name, password) }, "user="+name+" password="+password)
}

// WithAddr returns the DSN, a URL or keywords, with another address, for example that of a Proxy.
func WithAddr(dsn, addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("change a DSN: %w", err)
	}
	return change(dsn, func(u *url.URL) { u.Host = addr }, "host="+host+" port="+port)
}

// addrOf returns the address of a DSN's server, the first if there are several.
func addrOf(dsn string) (string, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return "", fmt.Errorf("read a DSN: %w", err)
	}
	return net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))), nil
}

// change edits a URL with the function. It appends to keywords, since the last of a name counts.
func change(dsn string, edit func(*url.URL), keywords string) (string, error) {
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		return dsn + " " + keywords, nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", fmt.Errorf("change a DSN: it is not a URL") // the parser's error would contain the password
	}
	edit(u)
	return u.String(), nil
}
