// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"strings"
	"testing"
	"time"
)

func TestPrometheusAnswersQueries(t *testing.T) {
	began := time.Now()
	p, err := StartPrometheus(t.Context(), "rule_files: [rules.yaml]", map[string]string{"rules.yaml": "groups: []"})
	if err != nil {
		t.Fatal(err)
	}
	found, err := p.Query(t.Context(), `label_replace(vector(3), "name", "three", "", "")`)
	if err != nil || len(found) != 1 || found[0].Value.Value != 3 || found[0].Labels["name"] != "three" {
		t.Errorf("the query returns %v: %v", found, err)
	}
	if _, err := p.Query(t.Context(), "sum("); err == nil || !strings.Contains(err.Error(), "parse error") {
		t.Errorf("an invalid expression gives the error %v", err)
	}
	found, err = p.QueryRange(t.Context(), "vector(3)", began, began.Add(4*time.Second), time.Second)
	if err != nil || len(found) != 1 || len(found[0].Values) != 5 {
		t.Errorf("the range query returns %v: %v", found, err)
	}
	for range 2 {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestPrometheusErrorNamesTheUnknownSetting(t *testing.T) {
	_, err := StartPrometheus(t.Context(), "no_such_setting: 1", nil)
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("got the error %v", err)
	}
}

func TestMissingPrometheusIsReported(t *testing.T) {
	t.Setenv("PROMETHEUS", "/nowhere/prometheus")
	if _, err := StartPrometheus(t.Context(), "", nil); err == nil || err.Error() != "PROMETHEUS is /nowhere/prometheus, which is not a program" {
		t.Errorf("got the error %v", err)
	}
	t.Setenv("PROMTOOL", "/nowhere/promtool")
	if _, err := Promtool(t.Context(), t.TempDir(), "--version"); err == nil || err.Error() != "PROMTOOL is /nowhere/promtool, which is not a program" {
		t.Errorf("got the error %v", err)
	}
}
