// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
)

// An Nginx is a running nginx.
type Nginx struct {
	Address string // host:port of the loopback interface that its site listens on
	scope   *scope
}

// nginxMain is what surrounds a site: all that nginx would write lies in its own folder, and what it has to say goes to
// its standard error.
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

// StartNginx starts nginx and returns when it takes connections; it ends with Stop, or with this process. Of its
// configuration, site is what stands within http, for the address that it is to listen on, and files are what it names
// by paths without a folder.
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

// Tail is the end of what nginx printed.
func (n *Nginx) Tail() string {
	return tail(n.scope.logPath("nginx"))
}

// Stop ends nginx, with all its files. It may be called again.
func (n *Nginx) Stop() error {
	return n.scope.close()
}
