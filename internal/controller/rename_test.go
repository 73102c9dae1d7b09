// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"testing"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// The steps of docs/gitops.md for a rename in Git: the tool creates the new resource, and deletes the old one.
func TestARenamedResourceKeepsItsAccount(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	s.secret("alice-password", "password", canary+" alice")
	old := s.readyUser("alice", secretRef("alice-password", ""), roles("operator"))
	s.sql(`UPDATE users SET failed_login_attempts = 5, locked_until = (now() AT TIME ZONE 'UTC') + interval '1 hour',
		last_login_at = now() WHERE username = 'alice'`)
	before := s.row("alice")
	// From now on, the database refuses to make the account worse even for a moment.
	s.sql(`CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF TG_OP = 'DELETE' OR NOT NEW.active OR NEW.password_hash <> OLD.password_hash OR NEW.roles <> OLD.roles THEN
			RAISE 'the account got worse';
		END IF;
		RETURN NEW;
	END $$`)
	s.sql(`CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION keep()`)

	s.edit(old, deletion(v1alpha1.DeletionRetain))
	s.ready(old)
	renamed := s.user("alice-smith", username("alice"), adopt(v1alpha1.AdoptionIfUnowned), deletion(v1alpha1.DeletionRetain),
		secretRef("alice-password", ""), roles("operator"))
	s.reports(renamed, v1alpha1.ReasonUsernameTaken)
	s.remove(old)
	s.ready(renamed)
	s.edit(renamed, adopt(v1alpha1.AdoptionNever), deletion(v1alpha1.DeletionDelete))
	s.ready(renamed)

	after := s.row("alice")
	s.Expect(after.Hash).To(gomega.Equal(before.Hash))
	s.Expect(after.Created).To(gomega.Equal(before.Created))
	s.Expect(after.LockedUntil).To(gomega.Equal(before.LockedUntil))
	s.Expect(after.LastLogin).To(gomega.Equal(before.LastLogin))
	s.Expect(after.Failed).To(gomega.Equal(5))
	s.Expect(renamed.Status.Locked).To(gomega.BeTrue())
	s.Expect(op.hasher.Computed()).To(gomega.BeEquivalentTo(1), "only the first one")
	s.Expect(op.hasher.Compared()).To(gomega.BeNumerically("<=", 1))
}

// The page warns of this.
func TestARenamedResourceWithTheDefaultDeletionPolicyGetsANewAccount(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	s.secret("alice-password", "password", canary+" alice")
	old := s.readyUser("alice", secretRef("alice-password", ""))
	s.sql(`UPDATE users SET failed_login_attempts = 3 WHERE username = 'alice'`)
	before := s.row("alice")
	renamed := s.user("alice-smith", username("alice"), secretRef("alice-password", ""))
	s.reports(renamed, v1alpha1.ReasonUsernameTaken)
	s.remove(old)
	s.ready(renamed)
	after := s.row("alice")
	s.Expect(after.Created).NotTo(gomega.Equal(before.Created))
	s.Expect(after.Hash).NotTo(gomega.Equal(before.Hash))
	s.Expect(after.Failed).To(gomega.BeZero())
}
