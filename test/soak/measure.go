// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// figures are a manager's metrics, with those of one name summed up.
type figures map[string]float64

const (
	fallbackActive   = "shardinguser_fallback_active"
	databaseUp       = "shardinguser_database_up"
	isLeader         = "leader_election_master_status"
	statusWrites     = "shardinguser_status_writes_total"
	auditDropped     = "shardinguser_audit_dropped_total"
	residentMemory   = "process_resident_memory_bytes"
	goroutines       = "go_goroutines"
	poolConnections  = "pgxpool_total_conns"
	mostResident     = 256 << 20 // bytes, for some hundred users
	mostGoroutines   = 80        // more than at the first quiet point
	mostRoleSessions = 2 * (poolSize + listeners)
)

// scrape returns the current metrics of a replica's manager, which authenticates the request at the API server.
func (s *stage) scrape(ctx context.Context, r *replica) (figures, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	status, body := r.now().Scrape(ctx, s.token)
	if status != http.StatusOK {
		return nil, fmt.Errorf("its metrics answer %d", status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("read its metrics: %w", err)
	}
	all := figures{}
	for name, family := range families {
		for _, metric := range family.GetMetric() {
			switch family.GetType() {
			case dto.MetricType_COUNTER:
				all[name] += metric.GetCounter().GetValue()
			case dto.MetricType_GAUGE:
				all[name] += metric.GetGauge().GetValue()
			default: // not used here
			}
		}
	}
	r.leads.Store(all[isLeader] == 1)
	return all, nil
}

// measure takes figures of a replica every second, and checks that counters do not fall.
func (s *stage) measure(ctx context.Context, r *replica) error {
	var last figures
	var of *testenv.Manager
	for pause(ctx, time.Second) == nil {
		m := r.now()
		now, err := s.scrape(ctx, r)
		if err != nil || m != r.now() {
			continue // the API server or the manager may be unavailable
		}
		writes := 0.0
		if m == of {
			writes = now[statusWrites] - last[statusWrites]
			for name, value := range now {
				if strings.HasSuffix(name, "_total") && value < last[name] {
					v := violation{what: fmt.Sprintf("replica %s: %s fell from %v to %v", r.name, name, last[name], value), at: time.Now()}
					s.story.violation(v)
					return s.fatal(v)
				}
			}
		}
		last, of = now, m
		s.story.sample(r.name, now, writes)
		if err := limits(r.name, now); err != nil {
			v := violation{what: err.Error(), at: time.Now()}
			s.story.violation(v)
			return s.fatal(v)
		}
	}
	return nil
}

// limits returns which figure exceeds its limit; nil if none does.
func limits(name string, now figures) error {
	switch {
	case now[residentMemory] > mostResident:
		return fmt.Errorf("replica %s has %.0f MiB in memory", name, now[residentMemory]/(1<<20))
	case now[poolConnections] > poolSize:
		return fmt.Errorf("replica %s has %v connections in a pool of %d", name, now[poolConnections], poolSize)
	case now[auditDropped] > 0:
		return fmt.Errorf("replica %s dropped %v attempts from the record", name, now[auditDropped])
	}
	return nil
}

// bounded returns what exceeds its limit at a quiet point; nil if nothing does.
func (s *stage) bounded(ctx context.Context) error {
	var sessions int
	err := within(ctx, "there are too many sessions", patience, 500*time.Millisecond, func(ctx context.Context) error {
		if err := s.db.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE usename = $1", s.role).Scan(&sessions); err != nil {
			return err
		}
		if sessions > mostRoleSessions {
			return fmt.Errorf("%d sessions of two replicas, each with a pool of %d", sessions, poolSize)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.story.mostSessions(sessions)
	web.CloseIdleConnections() // each is a goroutine there
	return within(ctx, "goroutines do not go back", patience, 500*time.Millisecond, func(ctx context.Context) error {
		var errs []error
		for _, r := range s.replicas {
			now, err := s.scrape(ctx, r)
			if err != nil {
				return err
			}
			if now[goroutines] > s.story.baseline(now[goroutines])+mostGoroutines {
				errs = append(errs, fmt.Errorf("replica %s has %v of them, and a leader had %v at first", r.name, now[goroutines], s.story.baseline(0)))
			}
		}
		return errors.Join(errs...)
	})
}

// Texts that must never appear.
var (
	aHash   = regexp.MustCompile(`[$!]2[abxy]?\$\d\d\$|[$!]hmac\$`)
	aPanic  = regexp.MustCompile(`(?m)^panic:|bserved a panic|Recovered from a panic|^fatal error:`)
	hashing = "a password hash"
)

// readForSecrets reads all that people see: the managers' logs, Events and statuses.
func (s *stage) readForSecrets(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	told := map[string]string{}
	for name, path := range s.allLogs() {
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read a log: %w", err)
		}
		told["the log of "+name] = string(content)
	}
	for _, what := range []string{"events.events.k8s.io", "shardingusers"} {
		text, err := s.cluster.Kubectl(ctx, "get", what, "-A", "-o", "yaml")
		if err != nil {
			return err
		}
		told[what] = text
	}
	var errs []error
	for where, text := range told {
		if found := secretIn(text, s.story.secrets); found != "" {
			errs = append(errs, fmt.Errorf("%s: there is %s in it", where, found))
		}
		if aPanic.MatchString(text) {
			errs = append(errs, fmt.Errorf("%s: there is a panic in it", where))
		}
	}
	for _, err := range errs {
		s.story.violation(violation{what: err.Error(), at: time.Now()})
	}
	return errors.Join(errs...)
}

// secretIn returns the kind of secret that a text contains; empty if none.
func secretIn(text string, secrets []string) string {
	if strings.Contains(text, canary) {
		return "a password"
	}
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			return "the database's password"
		}
	}
	if aHash.MatchString(text) {
		return hashing
	}
	return ""
}
