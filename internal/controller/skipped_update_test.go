// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"testing"

	"github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// An account that was to be made inactive, and is still active, is not reported as synced.
func TestAnUpdateThatTheDatabaseSkipsTurnsReadyFalse(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		given, drop string
		says        []string
	}{
		"a trigger": {trigger("skip", "BEFORE UPDATE", `RETURN NULL;`), `DROP TRIGGER skip ON users`, []string{"skip", "can log in"}},
		"a trigger that returns the old row": {
			trigger("keep_old", "BEFORE UPDATE", `RETURN OLD;`), `DROP TRIGGER keep_old ON users`, []string{"keep_old", "can log in"},
		},
		"a trigger that fires for some columns": {
			`CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
				CREATE TRIGGER skip BEFORE UPDATE OF active ON users FOR EACH ROW EXECUTE FUNCTION skip()`,
			`DROP TRIGGER skip ON users`,
			[]string{"skip", "can log in"},
		},
		"a rule": {`CREATE RULE elsewhere AS ON UPDATE TO users DO INSTEAD NOTHING`, `DROP RULE elsewhere ON users`, []string{"elsewhere", "0A000"}},
		"a rule for some rows": {
			`CREATE RULE elsewhere AS ON UPDATE TO users WHERE NOT NEW.active DO INSTEAD NOTHING`, `DROP RULE elsewhere ON users`, []string{"elsewhere", "0A000"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			op := s.start()
			u := s.readyUser("alice", roles("viewer"))
			s.sql(tt.given)
			s.edit(u, active(false))
			c := s.reports(u, v1alpha1.ReasonDatabaseRejected)
			s.Expect(c.Status).To(gomega.Equal(metav1.ConditionFalse))
			s.Expect(c.ObservedGeneration).To(gomega.Equal(u.Generation))
			for _, words := range tt.says {
				s.Expect(c.Message).To(gomega.ContainSubstring(words))
			}
			s.Expect(meta.IsStatusConditionTrue(u.Status.Conditions, v1alpha1.ConditionStalled)).To(gomega.BeTrue())
			s.Expect(s.row("alice").Active).To(gomega.BeTrue())
			writing := op.health().Writing
			s.Expect(writing).NotTo(gomega.HaveOccurred())

			s.sql(tt.drop)
			s.edit(u, roles("operator")) // has it retried at once
			s.ready(u)
			s.Expect(s.row("alice").Active).To(gomega.BeFalse())
		})
	}
}
