// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/onsi/gomega"
)

// A panel is the tested part of a panel of the dashboard.
type panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct {
		Expr         string `json:"expr"`
		LegendFormat string `json:"legendFormat"`
	} `json:"targets"`
	FieldConfig struct {
		Defaults struct {
			Unit     string `json:"unit"`
			Mappings []struct {
				Options map[string]struct{ Text string } `json:"options"`
			} `json:"mappings"`
			Custom struct {
				Stacking *struct{ Mode string } `json:"stacking"`
			} `json:"custom"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
}

func readPanels(t *testing.T) []panel {
	t.Helper()
	var dashboard struct {
		Panels []panel `json:"panels"`
	}
	if err := json.Unmarshal([]byte(file(t, "config/prometheus/dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	if len(dashboard.Panels) < 20 {
		t.Fatalf("the dashboard has %d panels: are they still read right?", len(dashboard.Panels))
	}
	return dashboard.Panels
}

// Two systems may be in one namespace: the greater one of their figures says nothing of the other.
func TestPanelsOfUsersAndDatabasesKeepSystemsApart(t *testing.T) {
	t.Parallel()
	apart := regexp.MustCompile(`(sum( by \(state\) )?|min)\(max by \(namespace, system(, state)?\) \((shardinguser_users|shardinguser_database_up)\{[^}]*\}\)\)`)
	looked := 0
	for _, p := range readPanels(t) {
		for _, target := range p.Targets {
			if strings.Contains(target.Expr, "max") && regexp.MustCompile("shardinguser_(users|database_up)").MatchString(target.Expr) {
				looked++
				if !apart.MatchString(target.Expr) {
					t.Errorf("%s mixes systems: %s", p.Title, target.Expr)
				}
			}
		}
	}
	if looked != 6 {
		t.Errorf("it looked at %d expressions, want 6", looked)
	}
}

// evaluated returns an expression as Grafana sends it for all namespaces.
func evaluated(expression, interval string) string {
	return strings.NewReplacer("$__rate_interval", interval, "$namespace", ".*", "$system", ".*").Replace(expression)
}

// everyPanelHasData fails if an expression cannot be evaluated, or has no data of a manager that has run for a while.
func (s *site) everyPanelHasData(butFor ...string) {
	s.t.Helper()
	for _, p := range readPanels(s.t) {
		for _, target := range p.Targets {
			found, err := s.prometheus.Query(s.t.Context(), evaluated(target.Expr, "1m"))
			if err != nil {
				s.t.Errorf("%s: %v", p.Title, err)
			}
			if len(found) == 0 && !slices.Contains(butFor, p.Title) {
				s.t.Errorf("%s: %s finds nothing", p.Title, target.Expr)
			}
		}
	}
}

// thePageHasEveryMetric fails where the table of docs/monitoring.md and the metrics of the manager differ.
func (s *site) thePageHasEveryMetric() {
	s.t.Helper()
	found, err := s.prometheus.Query(s.t.Context(), `count by (__name__) ({__name__=~"shardinguser_.+"})`)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	scraped := map[string]bool{}
	for _, series := range found {
		scraped[regexp.MustCompile(`_(bucket|count|sum)$`).ReplaceAllString(series.Labels["__name__"], "")] = true
	}
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(shardinguser_\\w+)").FindAllStringSubmatch(file(s.t, "docs/monitoring.md"), -1) {
		listed[row[1]] = true
	}
	s.Expect(listed).To(gomega.Equal(scraped))
}

var metricName = regexp.MustCompile(`\b(?:shardinguser|pgxpool|controller_runtime|workqueue|process)_\w+`)

// The guide describes every metric that is neither on the dashboard nor in an alert.
func TestTheGuideListsAllMetricsOfTheOperator(t *testing.T) {
	t.Parallel()
	guide := file(t, "docs/monitoring.md")
	shown := file(t, "config/prometheus/dashboard.json") + file(t, "config/prometheus/rules.yaml")
	for _, name := range metricName.FindAllString(shown, -1) {
		name = regexp.MustCompile(`_(bucket|count|sum)$`).ReplaceAllString(name, "")
		if strings.HasPrefix(name, "shardinguser_") && !strings.Contains(guide, "`"+name) {
			t.Errorf("docs/monitoring.md does not tell what %s is", name)
		}
	}
}

func TestPanelsFillTheDashboardWithoutOverlap(t *testing.T) {
	t.Parallel()
	const width = 24
	taken := map[string]string{}
	for _, p := range readPanels(t) {
		at := p.GridPos
		if at.X+at.W > width || at.W == 0 || at.H == 0 || p.Title == "" || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("the panel %q at %+v is not whole", p.Title, at)
		}
		for x := range at.W {
			for y := range at.H {
				cell := fmt.Sprintf("%d/%d", at.X+x, at.Y+y)
				if taken[cell] != "" {
					t.Fatalf("%q lies over %q", p.Title, taken[cell])
				}
				taken[cell] = p.Title
			}
		}
	}
	if bottom := len(taken) % width; bottom != 0 {
		t.Errorf("the last row lacks %d of %d", width-bottom, width)
	}
}
