// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"

	"k8s.io/apimachinery/pkg/util/wait"
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
	for name, content := range files {
		if _, err := s.write(name, content, 0o600); err != nil {
			return nil, err
		}
	}
	// Where nothing keeps the port, it may be taken by the time nginx wants it: then it ends, and gets another.
	for attempt := 1; ; attempt++ {
		port, err := s.port()
		if err != nil {
			return nil, err
		}
		n.Address = port.address()
		if _, err := s.write("site.conf", site(n.Address), 0o600); err != nil {
			return nil, err
		}
		if err = n.start(ctx, program); err == nil {
			return n, nil
		}
		if attempt == 3 || !errors.Is(err, errEnded) {
			return nil, err
		}
	}
}

func (n *Nginx) start(ctx context.Context, program string) error {
	cmd, err := n.scope.command("nginx", program, "-e", "stderr", "-p", n.scope.path(""), "-c", "nginx.conf")
	if err != nil {
		return err
	}
	log, err := n.scope.log("nginx")
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start nginx: %w", err)
	}
	running, _ := whileRunning(context.WithoutCancel(ctx), cmd, "nginx")
	err = wait.PollUntilContextTimeout(ctx, pollInterval, startTimeout, true, func(ctx context.Context) (bool, error) {
		if running.Err() != nil {
			return false, context.Cause(running)
		}
		connection, err := new(net.Dialer).DialContext(ctx, "tcp", n.Address)
		if err != nil {
			return false, nil //nolint:nilerr // not yet
		}
		return true, connection.Close()
	})
	if err != nil {
		return n.scope.withLog("nginx", fmt.Errorf("start nginx: %w", err))
	}
	return nil
}

// Tail is the end of what nginx printed.
func (n *Nginx) Tail() string {
	return tail(n.scope.logPath("nginx"))
}

// Stop ends nginx, with all its files. It may be called again.
func (n *Nginx) Stop() error {
	return n.scope.close()
}
