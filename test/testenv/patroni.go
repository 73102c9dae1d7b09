// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// A Patroni is a pair of Postgres servers that Patroni manages, with an etcd of its own, and HAProxy in front of both. The
// configuration is that of examples/patroni, with other addresses.
type Patroni struct {
	Nodes [2]*PatroniNode

	scope  *scope // of the nodes and HAProxy, which do not run as root
	etcd   *scope
	config string // path of the configuration of Patroni
	proxy  string // address of HAProxy
	admin  *url.Userinfo

	synchronous bool // whether commits wait for the standby
}

// failoverTimeout limits the waits for Patroni: a node acts only after its ttl, and may have to be rewound.
const failoverTimeout = 3 * time.Minute

// StartPatroni starts a pair, and returns when its standby is synchronous and HAProxy leads to its primary. It ends with Stop,
// or with this process.
func StartPatroni(ctx context.Context) (_ *Patroni, err error) {
	user, err := unprivileged()
	if err != nil {
		return nil, fmt.Errorf("start Patroni: %w", err)
	}
	p := &Patroni{admin: url.UserPassword("postgres", rand.Text()), synchronous: true}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Stop())
		}
	}()
	if p.etcd, err = newScope("patroni-etcd", nil); err != nil {
		return nil, err
	}
	if p.scope, err = newScope("patroni", user); err != nil {
		return nil, err
	}
	etcd, err := p.startEtcd(ctx)
	if err != nil {
		return nil, err
	}
	if p.config, err = p.example("patroni.yml"); err != nil {
		return nil, err
	}
	replication := rand.Text()
	for i := range p.Nodes {
		p.Nodes[i], err = p.newNode(fmt.Sprint("db-", i+1), etcd, replication) //nolint:contextcheck // its links outlive the context
		if err != nil {
			return nil, err
		}
		if err := p.Nodes[i].Start(ctx); err != nil {
			return nil, err
		}
	}
	if err := p.Healthy(ctx); err != nil {
		return nil, err
	}
	return p, p.startHAProxy(ctx)
}

// example copies a file of examples/patroni into the scope, with these strings replaced, and returns its path.
func (p *Patroni) example(name string, replacements ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	content, err := os.ReadFile(filepath.Join(root, "examples", "patroni", name))
	if err != nil {
		return "", fmt.Errorf("read an example: %w", err)
	}
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(string(content), replacements[i]) {
			return "", fmt.Errorf("examples/patroni/%s does not contain %q", name, replacements[i])
		}
	}
	return p.scope.write(name, strings.NewReplacer(replacements...).Replace(string(content)), 0o600)
}

// startEtcd returns the address of its own etcd. It cannot be that of a control plane, which other tests use.
func (p *Patroni) startEtcd(ctx context.Context) (address string, err error) {
	path, err := program("etcd")
	if err != nil {
		return "", err
	}
	if err := p.etcd.mkdir("data"); err != nil {
		return "", err
	}
	return p.etcd.serve(ctx, server{
		name: "etcd", program: path,
		at: func(clients *port) ([]string, error) {
			peers, err := p.etcd.port()
			if err != nil {
				return nil, err
			}
			at, among := "http://"+clients.address(), "http://"+peers.address()
			return []string{
				"--name=only", "--data-dir=" + p.etcd.path("data"), "--unsafe-no-fsync",
				"--listen-client-urls=" + at, "--advertise-client-urls=" + at,
				"--listen-peer-urls=" + among, "--initial-advertise-peer-urls=" + among, "--initial-cluster=only=" + among,
			}, nil
		},
		answers: func(ctx context.Context, address string) bool {
			status, _ := Get(ctx, "http://"+address+"/health", "")
			return status == http.StatusOK
		},
	})
}

func (p *Patroni) startHAProxy(ctx context.Context) error {
	path, err := found("find-program.sh", "haproxy")
	if err != nil {
		return err
	}
	p.proxy, err = p.scope.serve(ctx, server{
		name: "haproxy", program: path,
		at: func(port *port) ([]string, error) {
			replacements := []string{"bind :5000", "bind " + port.address()}
			for _, node := range p.Nodes {
				_, checked, err := net.SplitHostPort(node.rest)
				if err != nil {
					return nil, err
				}
				replacements = append(replacements,
					node.Name+".example.com:5432 check port 8008", node.address+" check port "+checked)
			}
			config, err := p.example("haproxy.cfg", replacements...)
			return []string{"-db", "-f", config}, err
		},
		// Until its first checks are done, HAProxy takes both nodes for the primary.
		answers: func(ctx context.Context, address string) bool {
			return strings.Contains(tail(p.scope.logPath("haproxy")), " is DOWN") && execute(ctx, p.dsn(address), "SELECT 1") == nil
		},
	})
	return err
}

// Server returns the primary as HAProxy leads to it, to create databases and roles. This package does not stop it as a server.
func (p *Patroni) Server() *Postgres {
	return &Postgres{dsn: p.dsn(p.proxy), external: true}
}

func (p *Patroni) dsn(address string) string {
	return (&url.URL{Scheme: "postgres", User: p.admin, Host: address, Path: "/postgres", RawQuery: "sslmode=disable"}).String()
}

// WithBothHosts returns the DSN with the addresses of both nodes, that of the current primary first.
func (p *Patroni) WithBothHosts(ctx context.Context, dsn string) (string, error) {
	first := p.Primary(ctx)
	if first == nil {
		return "", errors.New("find the hosts: no node is the primary")
	}
	return WithHosts(dsn, &Postgres{dsn: p.dsn(first.clients.Addr())}, &Postgres{dsn: p.dsn(p.Other(first).clients.Addr())})
}

// Primary returns the node that holds the leader key, by its own account; nil if none does.
func (p *Patroni) Primary(ctx context.Context) *PatroniNode {
	for _, node := range p.Nodes {
		if node.leads(ctx) {
			return node
		}
	}
	return nil
}

// Other returns the other node of the pair.
func (p *Patroni) Other(node *PatroniNode) *PatroniNode {
	if node == p.Nodes[0] {
		return p.Nodes[1]
	}
	return p.Nodes[0]
}

// Healthy waits until one node is the primary and the other follows it, as a synchronous standby if the pair has one.
func (p *Patroni) Healthy(ctx context.Context) error {
	var last string
	err := wait.PollUntilContextTimeout(ctx, pollInterval, failoverTimeout, true, func(ctx context.Context) (bool, error) {
		primary := p.Primary(ctx)
		if primary == nil {
			last = "no node is the primary"
			return false, nil
		}
		last = p.Other(primary).follows(ctx, primary)
		return last == "", nil
	})
	if err != nil {
		err = fmt.Errorf("wait for the pair of Patroni: %w: %s", err, last)
		for _, node := range p.Nodes {
			err = p.scope.withLog(node.Name, err)
		}
	}
	return err
}

// Switchover makes the other node the primary, as planned maintenance does, and returns when Patroni has done it.
func (p *Patroni) Switchover(ctx context.Context) error {
	path, err := found("find-program.sh", "patronictl")
	if err != nil {
		return err
	}
	primary := p.Primary(ctx)
	if primary == nil {
		return errors.New("switch over: no node is the primary")
	}
	cmd, err := p.scope.command("patronictl", path, "--config-file="+p.config, "switchover", "--force",
		"--leader="+primary.Name, "--candidate="+p.Other(primary).Name)
	if err != nil {
		return err
	}
	cmd.Env = append(cmd.Environ(), primary.env...)
	output, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "Successfully switched over") {
		return fmt.Errorf("switch over: %w: %s", errors.Join(err, errors.New("patronictl reports no success")), output)
	}
	return nil
}

// Synchronous sets whether commits wait for the standby, and returns when they do or no longer do.
func (p *Patroni) Synchronous(ctx context.Context, on bool) error {
	primary := p.Primary(ctx)
	if primary == nil {
		return errors.New("configure Patroni: no node is the primary")
	}
	// So short after start-up, checkpoints make even few commits a megabyte of WAL.
	body, err := json.Marshal(map[string]any{"synchronous_mode": on, "maximum_lag_on_failover": 64 << 20})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPatch, "http://"+primary.rest+"/config", strings.NewReader(string(body)))
	if err != nil {
		return fmt.Errorf("configure Patroni: %w", err)
	}
	response, err := web.Do(request)
	if err != nil {
		return fmt.Errorf("configure Patroni: %w", err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("configure Patroni: %s", response.Status)
	}
	err = wait.PollUntilContextTimeout(ctx, pollInterval, failoverTimeout, true, func(ctx context.Context) (is bool, err error) {
		err = primary.server().query(ctx, "SELECT current_setting('synchronous_standby_names') <> ''", &is)
		return is == on, err
	})
	if err != nil {
		return fmt.Errorf("wait for the synchronous mode of Patroni: %w", err)
	}
	p.synchronous = on
	return nil
}

// Repair ends all faults, and returns when the pair is as it was after its start.
func (p *Patroni) Repair(ctx context.Context) error {
	if err := errors.Join(p.Nodes[0].repair(ctx), p.Nodes[1].repair(ctx)); err != nil {
		return err
	}
	if err := p.Healthy(ctx); err != nil || p.synchronous {
		return err
	}
	return errors.Join(p.Synchronous(ctx, true), p.Healthy(ctx))
}

// Tail returns the end of the output of both nodes and HAProxy.
func (p *Patroni) Tail() string {
	var all []string
	for _, name := range []string{"db-1", "db-2", "haproxy"} {
		all = append(all, name+":\n"+tail(p.scope.logPath(name)))
	}
	return strings.Join(all, "\n")
}

// Stop ends all servers and deletes their data. It may be called again.
func (p *Patroni) Stop() error {
	var errs []error
	for _, node := range p.Nodes {
		if node != nil {
			errs = append(errs, node.close())
		}
	}
	for _, scope := range []*scope{p.scope, p.etcd} {
		if scope != nil {
			errs = append(errs, scope.close())
		}
	}
	return errors.Join(errs...)
}
