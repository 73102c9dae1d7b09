// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
)

// An Nginx is a running nginx.
type Nginx struct {
	Address string // host:port where its site listens
	scope   *scope
}

// nginxMain is the configuration around a site. nginx writes files only to its own folder, and logs to its standard error.
const nginxMain = `
daemon off;
pid nginx.pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	include site.conf;
}
`

// StartNginx starts nginx and returns when it accepts connections. It ends with Stop, or with this process. site returns the
// content of the http block for a listen address. files are by name, to which the site refers by relative paths.
func StartNginx(ctx context.Context, site func(address string) string, files map[string]string) (_ *Nginx, err error) {
	program, err := found("find-program.sh", "nginx")
	if err != nil {
		return nil, err
	}
	user, err := unprivileged()
	if err != nil {
		return nil, fmt.Errorf("start nginx: %w", err)
	}
	s, err := newScope("nginx", user)
	if err != nil {
		return nil, err
	}
	n := &Nginx{scope: s}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if _, err := s.write("nginx.conf", nginxMain, 0o600); err != nil {
		return nil, err
	}
	if err := s.writeAll(files); err != nil {
		return nil, err
	}
	n.Address, err = s.serve(ctx, server{
		name: "nginx", program: program,
		at: func(port *port) ([]string, error) {
			_, err := s.write("site.conf", site(port.address()), 0o600)
			return []string{"-e", "stderr", "-p", s.path(""), "-c", "nginx.conf"}, err
		},
	})
	return n, err
}

// Tail returns the end of nginx's output.
func (n *Nginx) Tail() string {
	return tail(n.scope.logPath("nginx"))
}

// Stop ends nginx and deletes its files. It may be called again.
func (n *Nginx) Stop() error {
	return n.scope.close()
}
