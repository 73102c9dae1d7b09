// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// Counters are what happened during a measurement. Counters that a server does not have are missing.
type Counters map[string]float64

// The counters, by their source.
const (
	// The manager itself.
	hashes       = "hashes"
	comparisons  = "comparisons"
	reconciles   = "reconciles"
	statusWrites = "status writes"
	recognized   = "recognised"

	// The API server. The bench's own requests for these resources are included.
	apiStatusPatches   = "API status patches"
	apiResourcePatches = "API resource patches"
	apiEvents          = "API Events"
	apiSecretReads     = "API Secret reads"

	// Postgres, for the manager's role.
	sqlStatements = "SQL statements"
	sqlSelects    = "SELECTs"

	// The kernel: seconds.
	cpuManager   = "CPU manager"
	cpuAPIServer = "CPU API server"
	cpuEtcd      = "CPU etcd"
	cpuPostgres  = "CPU Postgres"

	wallTime = "seconds"
)

// managerMetrics are the manager's names of the counters.
var managerMetrics = map[string]string{
	"shardinguser_password_hashes_total":      hashes,
	"shardinguser_password_comparisons_total": comparisons,
	"shardinguser_status_writes_total":        statusWrites,
	"shardinguser_login_recognized_total":     recognized,
	"controller_runtime_reconcile_total":      reconciles,
	"workqueue_depth":                         queued,
	"shardinguser_login_accounts":             accountCopies,
}

// queued is a gauge, not a counter: the number of resources that wait for a reconcile.
const queued = "queued"

// accountCopies is a gauge, too: the number of accounts in the manager's account cache.
const accountCopies = "copies of accounts"

// A phase is the part of a run in which events are counted.
type phase struct {
	s      *stage
	begun  time.Time
	before Counters
}

// begin starts counting. A manager that starts later counts from zero.
func (s *stage) begin(ctx context.Context) (*phase, error) {
	before, err := s.count(ctx)
	s.profile(ctx)
	return &phase{s: s, before: before, begun: time.Now()}, err
}

// launch starts a manager, and starts counting just before.
func (s *stage) launch(ctx context.Context) (*phase, error) {
	p, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		return nil, err
	}
	s.profile(ctx)
	return p, nil
}

// end returns the counts since begin. A watch can show a write before its counter does, so end waits up to settling for
// the minimum counts.
func (p *phase) end(ctx context.Context, atLeast Counters) (Counters, error) {
	took := time.Since(p.begun)
	var counted Counters
	limited, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	for {
		var err error
		if counted, err = p.s.count(ctx); err != nil {
			return nil, err
		}
		for name := range counted {
			counted[name] -= p.before[name]
		}
		if counted.reach(atLeast) || pause(limited, 5*poll) != nil {
			break
		}
	}
	delete(counted, queued)
	delete(counted, accountCopies)
	counted[wallTime] = took.Seconds()
	return counted, ctx.Err()
}

// settling is how long counters may lag.
const settling = 10 * time.Second

// reach reports whether no counter is below its minimum.
func (c Counters) reach(atLeast Counters) bool {
	for name, least := range atLeast {
		if c[name] < least {
			return false
		}
	}
	return true
}

// count returns all current counters.
func (s *stage) count(ctx context.Context) (Counters, error) {
	all := Counters{}
	if s.manager != nil {
		counted, err := s.counters(ctx)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, counted)
		if err := s.processTime(cpuManager, s.manager.PID(), nil, cpuOf, all); err != nil {
			return nil, err
		}
	}
	if err := s.countRequests(ctx, all); err != nil {
		return nil, err
	}
	if err := s.countStatements(ctx, all); err != nil {
		return nil, err
	}
	apiserver, err := s.cluster.PID("kube-apiserver")
	if err := s.processTime(cpuAPIServer, apiserver, err, cpuOf, all); err != nil {
		return nil, err
	}
	etcd, err := s.cluster.PID("etcd")
	if err := s.processTime(cpuEtcd, etcd, err, cpuOf, all); err != nil {
		return nil, err
	}
	if s.postgres.PID() == 0 {
		return all, nil // perhaps of another machine
	}
	return all, s.processTime(cpuPostgres, s.postgres.PID(), nil, cpuOfTree, all)
}

func (s *stage) processTime(name string, pid int, err error, of func(int) (float64, error), all Counters) error {
	if err == nil {
		all[name], err = of(pid)
	}
	return err
}

// counters returns the counters of the manager, with those of one name summed up.
func (s *stage) counters(ctx context.Context) (Counters, error) {
	var counted Counters
	err := s.within(ctx, "the metrics", poll, func(ctx context.Context) (ok bool, _ error) {
		counted, ok = s.scrape(ctx)
		return ok, nil
	})
	return counted, err
}

// scrape returns the counters, if they can be read.
func (s *stage) scrape(ctx context.Context) (Counters, bool) {
	status, body := s.manager.Scrape(ctx, s.token)
	if status != http.StatusOK {
		return nil, false
	}
	counted := Counters{}
	for metric, value := range samples(body) {
		if name, ok := managerMetrics[metric.name]; ok {
			counted[name] += value
		}
	}
	return counted, true
}

// countRequests adds the requests to the API server.
func (s *stage) countRequests(ctx context.Context, all Counters) error {
	body, err := s.apiMetrics(ctx)
	if err != nil {
		return err
	}
	for _, name := range []string{apiStatusPatches, apiResourcePatches, apiEvents, apiSecretReads} {
		all[name] = 0
	}
	for metric, value := range samples(body) {
		if metric.name != "apiserver_request_total" {
			continue
		}
		labels := labelsOf(metric.labels)
		switch verb := labels["verb"]; {
		case labels["group"] == "sharding.io" && labels["subresource"] == "status" && verb == "PATCH":
			all[apiStatusPatches] += value
		case labels["group"] == "sharding.io" && labels["subresource"] == "" && verb == "PATCH":
			all[apiResourcePatches] += value
		case labels["resource"] == "events" && (verb == "POST" || verb == "PATCH"):
			all[apiEvents] += value
		case labels["resource"] == "secrets" && verb == "GET":
			all[apiSecretReads] += value
		}
	}
	return nil
}

// apiMetrics returns the metrics of the API server.
func (s *stage) apiMetrics(ctx context.Context) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(s.cluster.Config().Host, "/")+"/metrics", nil)
	if err != nil {
		return "", fmt.Errorf("ask the API server for its metrics: %w", err)
	}
	response, err := s.http.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask the API server for its metrics: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", response.StatusCode)
	}
	if err != nil {
		return "", fmt.Errorf("ask the API server for its metrics: %w", err)
	}
	return string(body), nil
}

// countStatements adds the manager's statements, if Postgres has the extension pg_stat_statements.
func (s *stage) countStatements(ctx context.Context, all Counters) error {
	if !s.statements {
		return nil
	}
	var statements, selects float64
	err := s.db.QueryRow(ctx, `
SELECT COALESCE(sum(calls), 0), COALESCE(sum(calls) FILTER (WHERE ltrim(query, E' \n\t') ILIKE 'select%'), 0)
FROM pg_stat_statements
WHERE userid = (SELECT oid FROM pg_roles WHERE rolname = $1)`, s.role).Scan(&statements, &selects)
	if err != nil {
		return fmt.Errorf("count the SQL statements: %w", err)
	}
	all[sqlStatements], all[sqlSelects] = statements, selects
	return nil
}

// A sample is one line of metrics: name{labels} value.
type sample struct{ name, labels string }

// samples parses Prometheus' text format, as far as counters and gauges need it.
func samples(body string) iter.Seq2[sample, float64] {
	return func(yield func(sample, float64) bool) {
		for line := range strings.Lines(body) {
			line = strings.TrimSpace(line)
			at := strings.LastIndexByte(line, ' ')
			if at < 0 || line[0] == '#' {
				continue
			}
			value, err := strconv.ParseFloat(line[at+1:], 64)
			if err != nil {
				continue
			}
			name, labels, _ := strings.Cut(line[:at], "{")
			if !yield(sample{name, labels}, value) {
				return
			}
		}
	}
}

var label = regexp.MustCompile(`(\w+)="([^"]*)"`)

func labelsOf(text string) map[string]string {
	labels := map[string]string{}
	for _, match := range label.FindAllStringSubmatch(text, -1) {
		labels[match[1]] = match[2]
	}
	return labels
}

// within waits until the condition holds, or until a running manager ends.
func (s *stage) within(ctx context.Context, what string, every time.Duration, holds func(context.Context) (bool, error)) error {
	err := wait.PollUntilContextTimeout(ctx, every, patience, true, func(ctx context.Context) (bool, error) {
		if s.manager != nil {
			if err := s.manager.Err(); err != nil {
				return false, err
			}
		}
		return holds(ctx)
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", what, err)
	}
	return nil
}
