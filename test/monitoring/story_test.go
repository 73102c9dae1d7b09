// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/onsi/gomega"
)

// The data of `make dashboard-picture`. With it, the story takes longer.
var picture = flag.String("dashboard", "", "file to write what the dashboard shows of the story into")

const password = "the password of all users"

// Each step is an incident that the alerts of config/prometheus report to on-call engineers.
func TestARealPrometheusFiresAlerts(t *testing.T) {
	began := time.Now()
	s := newSite(t)
	s.fires()

	const crowd = 8
	for i := range crowd {
		s.user(fmt.Sprintf("user-%d", i), password)
	}
	s.eventually(func(g gomega.Gomega) {
		g.Expect(s.value(`shardinguser_users{state="ready"}`)).To(gomega.BeEquivalentTo(crowd))
	})
	s.Expect(s.logIn("user-0", password)).To(gomega.Equal(http.StatusOK))
	s.lives(25 * time.Second)
	s.user("nobody", "") // its Secret is missing
	s.fires("ShardingUsersNotReady")
	s.everyPanelHasData("Logins during fallback")
	s.thePageHasEveryMetric()

	// An attacker guesses passwords.
	for i := range crowd - 1 {
		for range 5 {
			s.Expect(s.logIn(fmt.Sprintf("user-%d", i+1), "a guess")).To(gomega.Equal(http.StatusUnauthorized))
		}
		s.lives(2 * time.Second)
	}
	s.fires("ShardingUsersNotReady", "ShardingUserLockoutBurst")
	s.lives(20 * time.Second)

	// The database fails, logins continue, and the database returns.
	s.database.Cut()
	s.fires("ShardingUsersNotReady", "ShardingUserLockoutBurst", "ShardingUserDatabaseDown", "ShardingUserFallbackActive")
	s.Expect(s.logIn("user-0", password)).To(gomega.Equal(http.StatusOK))
	s.eventually(func(g gomega.Gomega) {
		g.Expect(s.value(`shardinguser_fallback_attempts_total{outcome="success"}`)).To(gomega.BeEquivalentTo(1))
	})
	s.everyPanelHasData()
	s.lives(25 * time.Second)
	s.database.Restore()
	s.fires("ShardingUsersNotReady", "ShardingUserLockoutBurst")
	s.lives(25 * time.Second)
	s.drawn(began)

	s.manager.Kill()
	s.eventually(func(g gomega.Gomega) { g.Expect(s.firing()).To(gomega.ContainElement("ShardingUserOperatorDown")) })
}

// lives logs users in and sends requests of gateways for a while, if a picture is drawn.
func (s *site) lives(long time.Duration) {
	s.t.Helper()
	if *picture == "" {
		return
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("user-0:"+password))
	tick := time.NewTicker(120 * time.Millisecond)
	defer tick.Stop()
	for turn, end := 0, time.After(long); ; turn++ {
		select {
		case <-end:
			return
		case <-tick.C:
		}
		switch {
		case turn%9 == 4:
			s.logIn("who-is-this", "a guess")
		case turn%17 == 8:
			s.logIn("user-0", "a slip")
			s.logIn("user-0", password) // the counter starts again
		case turn%3 == 0:
			s.logIn("user-0", password)
		default:
			_, err := s.manager.Verify(s.t.Context(), basic)
			s.Expect(err).NotTo(gomega.HaveOccurred())
		}
	}
}

// The input of hack/benchplot/dashboard.
type (
	shownDashboard struct {
		From, To time.Time
		Panels   []shownPanel
	}
	shownPanel struct {
		panel
		Lines []shownLine
	}
	shownLine struct {
		Legend string
		Points [][2]float64 // seconds since From, value
	}
)

// drawn writes the dashboard's data since the beginning, if a picture is drawn.
func (s *site) drawn(from time.Time) {
	s.t.Helper()
	if *picture == "" {
		return
	}
	shown := shownDashboard{From: from, To: time.Now()}
	label := regexp.MustCompile(`{{(\w+)}}`)
	for _, p := range readPanels(s.t) {
		lines := shownPanel{panel: p}
		for _, target := range p.Targets {
			found, err := s.prometheus.QueryRange(s.t.Context(), evaluated(target.Expr, "10s"), shown.From, shown.To, time.Second)
			s.Expect(err).NotTo(gomega.HaveOccurred())
			for _, series := range found {
				line := shownLine{Legend: label.ReplaceAllStringFunc(target.LegendFormat, func(match string) string {
					return series.Labels[label.FindStringSubmatch(match)[1]]
				})}
				for _, sample := range series.Values {
					if sample.Value == sample.Value { // a quantile of nothing is NaN, which JSON does not know
						line.Points = append(line.Points, [2]float64{sample.At.Sub(from).Seconds(), sample.Value})
					}
				}
				lines.Lines = append(lines.Lines, line)
			}
		}
		shown.Panels = append(shown.Panels, lines)
	}
	content, err := json.Marshal(shown)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.Expect(os.WriteFile(*picture, content, 0o600)).To(gomega.Succeed())
}
