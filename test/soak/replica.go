// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// A replica is one of the two places of a manager. A manager that ends is started again, as by a kubelet.
type replica struct {
	s    *stage
	name string

	starting sync.Mutex // held during a start

	mu      sync.Mutex
	manager *testenv.Manager
	process int
	ended   map[*testenv.Manager]bool // those that the soak ended, or is about to
	logs    []string

	leads atomic.Bool // as last observed
}

// start starts a manager there, unless one runs. It does not wait.
func (r *replica) start() error {
	r.starting.Lock()
	defer r.starting.Unlock()
	if m := r.now(); m != nil && m.Running() {
		return nil
	}
	m, err := r.s.cluster.StartManager(testenv.ManagerOptions{
		Program: r.s.set.program, Rights: r.s.rights, DSN: r.s.dsn,
		Args: []string{
			"--leader-elect", "--leader-election-namespace=" + testenv.SystemNamespace, "--login-source-rate=0",
			"--bcrypt-cost=" + strconv.Itoa(bcryptCost),
			"--lockout-attempts=" + strconv.Itoa(lockoutAttempts), "--lockout-duration=" + lockoutDuration.String(),
			"--fallback-attempts=" + strconv.Itoa(fallbackAttempts), "--database-max-connections=" + strconv.Itoa(poolSize),
		},
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.manager, r.process = m, int(r.s.processes.Add(1))
	r.logs = append(r.logs, m.Log)
	process := r.process
	r.mu.Unlock()
	go r.attend(m, process)
	return nil
}

// attend records the end of a manager. If the soak did not end it, it lost its lease, by design, or is broken.
func (r *replica) attend(m *testenv.Manager, process int) {
	<-m.Ended()
	r.s.ledger.over(process, time.Now())
	r.mu.Lock()
	ours := r.ended[m]
	r.mu.Unlock()
	if ours {
		return
	}
	lost := strings.Contains(m.Tail(), "leader election lost")
	switch slow := r.s.slowAPI.Load(); {
	case lost && r.s.leaseAtRisk.Load():
		r.s.story.count("ends of a leader that lost its lease by a fault")
	case lost && slow != nil && time.Since(*slow) < leaseDuration:
		r.s.story.count("ends of a leader whose API server was too busy to renew the lease, which the soak noticed as well")
	default:
		r.s.fail(violation{what: fmt.Sprintf("replica %s ended by itself: %v", r.name, m.Err()), at: time.Now()})
		return
	}
	r.s.say("replica %s lost its lease and ended; it is started again", r.name)
	if err := r.start(); err != nil {
		r.s.fail(violation{what: err.Error(), at: time.Now()})
	}
}

// leaseDuration is the duration of a lease that is not renewed.
const leaseDuration = 15 * time.Second

// feelThePulse records when the API server does not respond to the soak either: on a busy machine no lease may be
// renewed in time.
func (s *stage) feelThePulse(ctx context.Context) error {
	const tooSlow = 2 * time.Second
	for pause(ctx, time.Second) == nil {
		begun := time.Now()
		err := s.api.Get(ctx, client.ObjectKey{Name: s.namespace}, &corev1.Namespace{})
		if now := time.Now(); err != nil || now.Sub(begun) > tooSlow {
			s.slowAPI.Store(&now)
		}
	}
	return nil
}

// now returns the running manager, or the last one.
func (r *replica) now() *testenv.Manager {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.manager
}

func (r *replica) end() *testenv.Manager {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended[r.manager] = true
	return r.manager
}

// kill ends the manager by SIGKILL.
func (r *replica) kill() {
	if m := r.end(); m != nil {
		m.Kill()
	}
}

// stop stops it as a kubelet does.
func (r *replica) stop() error { return r.end().Stop(30 * time.Second) }

func (r *replica) signal(sig os.Signal) { r.now().Signal(sig) }

// web trusts every certificate, and waits no longer than a client might.
var web = &http.Client{
	Timeout:   15 * time.Second,
	Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 32, IdleConnTimeout: 20 * time.Second},
}

// logIn makes one attempt, and records it in the ledger. Its number is in the user agent, so that its record can be
// found.
func (r *replica) logIn(ctx context.Context, username, password string, verify bool) (status int) {
	r.mu.Lock()
	address, process := r.manager.Login, r.process
	r.mu.Unlock()
	a := r.s.ledger.begin(attempt{user: username, password: password, process: process, verify: verify, sent: time.Now()})
	status = ask(ctx, address, a)
	r.s.ledger.end(a, status, time.Now())
	r.s.story.answer(status)
	return status
}

// ask returns the status of the response; 0 if there was none.
func ask(ctx context.Context, address string, a *attempt) int {
	method, path, body := http.MethodPost, testenv.LoginPath, []byte(nil)
	if a.verify {
		method, path = http.MethodGet, testenv.VerifyPath
	} else {
		var err error
		if body, err = json.Marshal(map[string]string{"username": a.user, "password": a.password}); err != nil {
			return 0
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, "https://"+address+path, bytes.NewReader(body))
	if err != nil {
		return 0
	}
	request.Header.Set("User-Agent", agent+strconv.FormatInt(a.id, 10))
	if a.verify {
		request.SetBasicAuth(a.user, a.password)
	}
	response, err := web.Do(request)
	if err != nil {
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0
	}
	return response.StatusCode
}

// agent is the soak's user agent, before the number of an attempt.
const agent = "soak/"

// allLogs returns the paths of the logs of all managers and of Postgres.
func (s *stage) allLogs() (paths map[string]string) {
	paths = map[string]string{}
	for _, r := range s.replicas {
		r.mu.Lock()
		for i, path := range r.logs {
			paths[fmt.Sprintf("manager-%s-%d", r.name, i+1)] = path
		}
		r.mu.Unlock()
	}
	return paths
}

// keepLogs copies the logs to the folder of the report.
func (s *stage) keepLogs() error {
	folder := filepath.Join(s.set.folder, s.story.name()+"-logs")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("keep the logs: %w", err)
	}
	paths := s.allLogs()
	if path, err := s.postgres.Log(); err == nil {
		paths["postgres"] = path
	}
	for name, path := range paths {
		content, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, name+".log"), content, 0o600)
		}
		if err != nil {
			return fmt.Errorf("keep the logs: %w", err)
		}
	}
	s.story.note("The logs are kept in %s.", folder)
	s.say("the logs are kept in %s", folder)
	return nil
}
