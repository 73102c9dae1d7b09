// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/test/shardingmanager"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const besidePage = "docs/beside-the-sharding-manager.md"

// A pageReader follows the page about the sharding manager. It has its own server: the page names roles, which are per server.
type pageReader struct {
	*reader
	place string // where the database is: the part of a DSN after the password
	p     *process
	n     *neighbour
}

func (s *story) readBeside() *pageReader {
	s.t.Helper()
	_, place, found := strings.Cut(s.db.Config().ConnString(), "@")
	s.Expect(found).To(gomega.BeTrue())
	r := &pageReader{reader: s.read(besidePage, &process{Manager: &testenv.Manager{Login: "127.0.0.1:1"}}), place: place}
	return r
}

// written returns what a command of the page wrote into a file.
func (r *pageReader) written(name string) string {
	r.t.Helper()
	content, err := os.ReadFile(filepath.Join(r.dir, name))
	r.Expect(err).NotTo(gomega.HaveOccurred())
	return strings.TrimSpace(string(content))
}

// follow runs the commands of the page, and starts the programs where the page says so.
func (r *pageReader) follow(generation shardingmanager.Generation) (checked string) {
	r.t.Helper()
	for _, b := range blocks(r.t, besidePage) {
		b.text = strings.ReplaceAll(b.text, "db.example.com:5432/sharding?sslmode=verify-full", r.place)
		switch {
		case strings.HasPrefix(b.text, "# admin.yaml"): // step 3 ran before
			r.p = r.launchOn(r.written("dsn.txt"), "--watch-namespaces="+r.namespace).begin(r.t).ready()
		case b.language == "sh" && strings.Contains(b.text, "curl"): // step 5 ran before step 3
			r.n = r.beside(shardingmanager.Options{DSN: r.written("manager-dsn.txt"), Generation: generation})
			to := fmt.Sprintf("connect-to = sharding-manager.example.com:8080:%s\n", strings.TrimPrefix(r.n.URL, "http://"))
			for _, variable := range r.env {
				if home, ok := strings.CutPrefix(variable, "HOME="); ok {
					r.Expect(os.WriteFile(filepath.Join(home, ".curlrc"), []byte(to), 0o600)).To(gomega.Succeed())
				}
			}
		}
		_, printed := r.do(b)
		if strings.Contains(b.text, "curl") {
			checked += printed
		}
	}
	return checked
}

func TestSharingPageLeavesNoDefaultPassword(t *testing.T) {
	t.Parallel()
	s := storyOn(t, serverOfItsOwn(t, "timezone=Asia/Tokyo")) // the page's notes on time zones have to hold here, too
	s.sql(`REVOKE CREATE ON SCHEMA public FROM ` + s.role)
	r := s.readBeside()
	checked := r.follow(shardingmanager.Older)
	s.Expect(checked).To(gomega.Equal("admin 401\noperator 401\nviewer 401\n200\n"))
	r.n.hasNoDefaults()

	s.member("alice")
	s.logsIn(r.p, "alice", http.StatusOK)
	r.n.logsIn("alice", http.StatusOK)
	var off float64
	s.Expect(s.db.QueryRow(t.Context(), `SELECT abs(extract(epoch FROM (now() AT TIME ZONE 'UTC') - last_login_at))::float8 FROM users
		WHERE username = 'alice'`).Scan(&off)).To(gomega.Succeed())
	s.Expect(off).To(gomega.BeNumerically("<", 60))

	// The manager is upgraded, and both programs restart.
	r.p.Kill()
	upgraded := s.beside(newer(r.written("manager-dsn.txt")))
	p := s.launchOn(r.written("dsn.txt"), "--watch-namespaces="+s.namespace).begin(t).ready()
	upgraded.hasNoDefaults()
	upgraded.logsIn("alice", http.StatusOK)
	s.logsIn(p, "alice", http.StatusOK)
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(p.said()).To(gomega.ContainSubstring("The database schema is complete"))
		for _, kind := range []string{"open-schema", "manager-rights", "foreign-owner", "missing-right", "session-time-zone", "notification-trigger", "foreign-trigger", "oauth-guard"} {
			found, isThere := p.metric("shardinguser_table_findings", `kind="`+kind+`"`)
			g.Expect(isThere).To(gomega.BeTrue(), kind)
			g.Expect(found).To(gomega.BeZero(), kind)
		}
	})
}
