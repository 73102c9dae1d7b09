// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// A PatroniNode is a node of a pair: a Patroni, its Postgres, and the links that the node uses.
type PatroniNode struct {
	Name string

	pair        *Patroni
	address     string   // of Postgres, for clients
	rest        string   // address of Patroni's API
	env         []string // the settings of the node
	etcd        *Link    // from this node to etcd
	replication *Link    // from the other node to this node's Postgres
	clients     *Link    // from clients to Postgres, if they do not use HAProxy
	frozen      bool
	killed      bool
}

// newNode prepares a node. Patroni prefers its environment to its configuration.
func (p *Patroni) newNode(name, etcd, password string) (_ *PatroniNode, err error) {
	ports := [2]*port{}
	for i := range ports {
		if ports[i], err = p.scope.port(); err != nil {
			return nil, err
		}
	}
	n := &PatroniNode{Name: name, pair: p, address: ports[0].address(), rest: ports[1].address()}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	for link, upstream := range map[**Link]string{&n.etcd: etcd, &n.replication: n.address, &n.clients: n.address} {
		if *link, err = NewLink(upstream); err != nil {
			return nil, err
		}
	}
	bin, err := p.programsOf(name)
	if err != nil {
		return nil, err
	}
	admin, _ := p.admin.Password()
	for setting, value := range map[string]string{
		"NAME":           name,
		"RESTAPI_LISTEN": n.rest, "RESTAPI_CONNECT_ADDRESS": n.rest,
		// As proxies, since Patroni otherwise connects to the address that etcd announces.
		"ETCD3_HOSTS": n.etcd.Addr(), "ETCD3_USE_PROXIES": "true",
		"POSTGRESQL_LISTEN": n.address, "POSTGRESQL_CONNECT_ADDRESS": n.replication.Addr(),
		"POSTGRESQL_BIN_DIR": bin, "POSTGRESQL_DATA_DIR": p.scope.path(name), "POSTGRESQL_PGPASS": p.scope.path(name + ".pgpass"),
		"SUPERUSER_PASSWORD": admin, "REPLICATION_PASSWORD": password, "REWIND_PASSWORD": password,
	} {
		n.env = append(n.env, "PATRONI_"+setting+"="+value)
	}
	return n, nil
}

// close ends the node's links. Its programs end with the pair's scope.
func (n *PatroniNode) close() error {
	var errs []error
	for _, link := range []*Link{n.etcd, n.replication, n.clients} {
		if link != nil {
			errs = append(errs, link.Close())
		}
	}
	return errors.Join(append(errs, n.Thaw())...)
}

// programsOf returns a folder with Postgres' programs for a node. Patroni starts Postgres outside of its own process group. So a
// script in the folder makes Postgres lead a group, and records its process id for the reaper. It also turns off the Unix
// socket, whose path could be too long.
func (p *Patroni) programsOf(name string) (folder string, err error) {
	bin, err := found("find-postgres.sh")
	if err != nil {
		return "", err
	}
	postgres, err := filepath.EvalSymlinks(filepath.Join(bin, "postgres"))
	if err != nil {
		return "", fmt.Errorf("find Postgres' programs: %w", err)
	}
	bin = filepath.Dir(postgres)
	if _, err := os.Stat(filepath.Join(bin, "pg_rewind")); err != nil {
		return "", fmt.Errorf("Patroni needs all of Postgres' programs: %w", err)
	}
	wrapped, err := p.scope.wrap("postgres-"+name, postgres)
	if err != nil {
		return "", err
	}
	if err := p.scope.mkdir("bin-" + name); err != nil {
		return "", err
	}
	programs, err := os.ReadDir(bin)
	if err != nil {
		return "", fmt.Errorf("find Postgres' programs: %w", err)
	}
	for _, program := range programs {
		if program.Name() == "postgres" {
			continue
		}
		if err := os.Symlink(filepath.Join(bin, program.Name()), p.scope.path("bin-"+name, program.Name())); err != nil {
			return "", fmt.Errorf("link Postgres' programs: %w", err)
		}
	}
	script := fmt.Sprintf("#!/bin/sh\ncase $1 in\n-D) exec setsid %s \"$@\" -k '' ;;\n*) exec %s \"$@\" ;;\nesac\n", quote(wrapped), quote(postgres))
	_, err = p.scope.write("bin-"+name+"/postgres", script, 0o700)
	return p.scope.path("bin-" + name), err
}

// Start starts the node's Patroni, which starts Postgres. It does not wait: see [Patroni.Healthy].
func (n *PatroniNode) Start(ctx context.Context) error {
	path, err := found("find-program.sh", "patroni")
	if err != nil {
		return err
	}
	n.killed = false
	return n.pair.scope.serveAt(ctx, server{
		name: n.Name, program: path, env: n.env,
		answers: func(ctx context.Context, address string) bool {
			status, _ := Get(ctx, "http://"+address+"/liveness", "")
			return status == http.StatusOK
		},
	}, n.rest, []string{n.pair.config})
}

// Kill ends the node's Patroni and its Postgres with SIGKILL, as a power failure does, and returns when both have ended.
func (n *PatroniNode) Kill(ctx context.Context) error {
	var pids []int
	for _, name := range []string{n.Name, "postgres-" + n.Name} {
		pid, err := n.pair.scope.pid(name)
		if err != nil {
			return err
		}
		pids = append(pids, pid)
		if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill %s of %s: %w", name, n.Name, err)
		}
	}
	n.frozen, n.killed = false, true
	err := wait.PollUntilContextTimeout(ctx, pollInterval, startTimeout, true, func(context.Context) (bool, error) {
		return !alive(pids[0]) && !alive(pids[1]), nil
	})
	if err != nil {
		return fmt.Errorf("wait for the end of %s: %w", n.Name, err)
	}
	return nil
}

// alive reports whether a process exists and is no zombie: init may take a while to collect one.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !errors.Is(err, os.ErrNotExist)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// repair ends all faults of the node.
func (n *PatroniNode) repair(ctx context.Context) error {
	err := errors.Join(n.Thaw(), n.etcd.Restore(), n.replication.Restore(), n.clients.Restore()) //nolint:contextcheck // as in newNode
	if n.killed {
		err = errors.Join(err, n.Start(ctx))
	}
	return err
}

// Freeze stops the node's Patroni with SIGSTOP, as a starved machine does. Postgres keeps running.
func (n *PatroniNode) Freeze() error {
	n.frozen = true
	return n.signal(syscall.SIGSTOP)
}

// Thaw ends Freeze.
func (n *PatroniNode) Thaw() error {
	if !n.frozen {
		return nil
	}
	n.frozen = false
	return n.signal(syscall.SIGCONT)
}

func (n *PatroniNode) signal(signal syscall.Signal) error {
	pid, err := n.pair.scope.pid(n.Name)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, signal); err != nil {
		return fmt.Errorf("send a signal to %s: %w", n.Name, err)
	}
	return nil
}

// LoseEtcd cuts the node off from etcd. It still reaches the other node.
func (n *PatroniNode) LoseEtcd() { n.etcd.Cut() }

// FindEtcd ends LoseEtcd.
func (n *PatroniNode) FindEtcd() error { return n.etcd.Restore() }

// StopReplication cuts the other node off from this node's Postgres. Clients still reach both.
func (n *PatroniNode) StopReplication() { n.replication.Cut() }

// ResumeReplication ends StopReplication.
func (n *PatroniNode) ResumeReplication() error { return n.replication.Restore() }

// Silence drops what clients of this node send, unless they use HAProxy, as when its machine is powered off.
func (n *PatroniNode) Silence() { n.clients.Stall() }

// EndSilence ends Silence.
func (n *PatroniNode) EndSilence() error { return n.clients.Restore() }

// DSN returns the DSN of an administrator for the node's Postgres.
func (n *PatroniNode) DSN() string { return n.pair.dsn(n.address) }

// On returns the DSN with this node's address.
func (n *PatroniNode) On(dsn string) (string, error) { return WithAddr(dsn, n.address) }

func (n *PatroniNode) server() *Postgres { return &Postgres{dsn: n.DSN(), external: true} }

// leads reports whether the node's Patroni says that it holds the leader key.
func (n *PatroniNode) leads(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	status, _ := Get(ctx, "http://"+n.rest+"/primary", "")
	return status == http.StatusOK
}

// follows returns why the node does not follow the primary; "" if it does.
func (n *PatroniNode) follows(ctx context.Context, primary *PatroniNode) (why string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	path := "/replica"
	if n.pair.synchronous {
		path = "/synchronous"
	}
	if status, body := Get(ctx, "http://"+n.rest+path, ""); status != http.StatusOK {
		return fmt.Sprintf("%s answers %s with %d %s", n.Name, path, status, body)
	}
	var follows bool
	err := primary.server().query(ctx, `SELECT EXISTS (SELECT FROM pg_stat_replication WHERE application_name = '`+n.Name+`'
		AND state = 'streaming' AND (sync_state = 'sync' OR NOT `+strconv.FormatBool(n.pair.synchronous)+`))`, &follows)
	switch {
	case err != nil:
		return err.Error()
	case !follows:
		return n.Name + " does not stream from " + primary.Name + " as it should"
	}
	return ""
}
