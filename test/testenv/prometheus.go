// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"strconv"
	"time"
)

// A Prometheus is a running Prometheus server.
type Prometheus struct {
	Address string // host:port of its API
	scope   *scope
}

// StartPrometheus starts Prometheus with this configuration and these files, by name, to which the configuration refers by
// relative paths. It returns when Prometheus is ready. Prometheus ends with Stop, or with this process.
func StartPrometheus(ctx context.Context, config string, files map[string]string) (_ *Prometheus, err error) {
	program, err := found("find-program.sh", "prometheus")
	if err != nil {
		return nil, err
	}
	s, err := newScope("prometheus", nil)
	if err != nil {
		return nil, err
	}
	p := &Prometheus{scope: s}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if _, err := s.write("prometheus.yml", config, 0o600); err != nil {
		return nil, err
	}
	if err := s.writeAll(files); err != nil {
		return nil, err
	}
	p.Address, err = s.serve(ctx, server{
		name: "prometheus", program: program,
		at: func(port *port) ([]string, error) {
			return []string{"--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=" + port.address()}, nil
		},
		answers: func(ctx context.Context, address string) bool {
			status, _ := Get(ctx, "http://"+address+"/-/ready", "")
			return status == http.StatusOK
		},
	})
	return p, err
}

// A Series is a result of a query: labels, and samples.
type Series struct {
	Labels map[string]string `json:"metric"`
	Value  Sample            `json:"value"`            // of Query
	Values []Sample          `json:"values,omitempty"` // of QueryRange
}

// A Sample is a value with its time.
type Sample struct {
	At    time.Time
	Value float64
}

// UnmarshalJSON reads a pair of seconds and a quoted number, since JSON has no NaN.
func (s *Sample) UnmarshalJSON(b []byte) error {
	var text string
	var at float64
	if err := json.Unmarshal(b, &[]any{&at, &text}); err != nil {
		return fmt.Errorf("read a sample: %w", err)
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("read a sample: %w", err)
	}
	s.At, s.Value = time.UnixMilli(int64(at*1000)), value
	return nil
}

// Query evaluates an expression at the current time.
func (p *Prometheus) Query(ctx context.Context, expression string) ([]Series, error) {
	return p.query(ctx, "query", url.Values{"query": {expression}})
}

// QueryRange evaluates an expression at each step from one time to another.
func (p *Prometheus) QueryRange(ctx context.Context, expression string, from, to time.Time, step time.Duration) ([]Series, error) {
	seconds := func(at time.Time) string { return strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64) }
	return p.query(ctx, "query_range", url.Values{
		"query": {expression}, "start": {seconds(from)}, "end": {seconds(to)}, "step": {step.String()},
	})
}

func (p *Prometheus) query(ctx context.Context, kind string, parameters url.Values) ([]Series, error) {
	_, body := Get(ctx, "http://"+p.Address+"/api/v1/"+kind+"?"+parameters.Encode(), "")
	var answer struct {
		Error string
		Data  struct{ Result []Series }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return nil, fmt.Errorf("query %s: %s", parameters.Get("query"), body)
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("query %s: %s", parameters.Get("query"), answer.Error)
	}
	return answer.Data.Result, nil
}

// Tail returns the end of Prometheus' output.
func (p *Prometheus) Tail() string {
	return tail(p.scope.logPath("prometheus"))
}

// Stop ends Prometheus and deletes its files. It may be called again.
func (p *Prometheus) Stop() error {
	return p.scope.close()
}

// Promtool runs promtool in a folder, and returns its output.
func Promtool(ctx context.Context, folder string, args ...string) (string, error) {
	program, err := found("find-program.sh", "promtool")
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = folder
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return output.String(), fmt.Errorf("promtool %v: %w: %s", args, err, output.String())
	}
	return output.String(), nil
}
