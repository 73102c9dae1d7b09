// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/bcrypt"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// A step is a step of the story. An error of its run has the expected and the actual result.
type step struct {
	title       string
	explanation string
	run         func(context.Context, *story) error
}

func steps() []step {
	return []step{
		{
			"Three accounts",
			"On an empty system, the manager creates three users (--default-users=sharding). Each ShardingUser becomes a row.",
			threeAccounts,
		},
		{
			"A rotated password",
			"The operator applies a new value in the Secret immediately. Nothing else has to be changed.",
			rotatedPassword,
		},
		{
			"Five failed logins",
			"The fifth failure locks the account. The right password then gets the same answer as a wrong one.",
			fiveFailures,
		},
		{
			"An unlock",
			"Each new value of the annotation is one request, so unlocking is safe in Git and by hand.",
			unlock,
		},
		{
			"A login",
			"The right password returns a token. verify tells a gateway which user the token belongs to.",
			loggedIn,
		},
		{
			"The audit trail",
			"Every attempt leaves a row. An unknown username is stored only as a digest.",
			record,
		},
		{
			"A database outage",
			"While Postgres is unavailable, logins use the account cache, and five failures still lock an account.",
			outage,
		},
		{
			"Drift correction",
			"A program changes the role of viewer to admin directly in the database.",
			drift,
		},
		{
			"A generated password",
			"The operator generates a password in a Secret for a machine user, and replaces it every quarter.",
			generatedPassword,
		},
		{
			"A rejected manifest",
			"The API server validates the manifest and explains the rule. Nothing reaches the database.",
			refused,
		},
		{
			"A username conflict",
			"Another team claims admin. A row has one owner: the other resource reports it, and deleting that resource changes nothing.",
			taken,
		},
		{
			"Policies",
			"With policies, a team may claim only its own usernames and grant only its own roles.",
			permitted,
		},
		{
			"The last administrator",
			"A mistake cannot remove the last administrator: the last active admin keeps its role until there is another.",
			lastAdministrator,
		},
		{
			"A deletion",
			"The row is deleted with the resource (spec.deletionPolicy can keep it).",
			deletion,
		},
	}
}

// defaultUsers are the usernames of the default users. Each has the role of its name, and a password in the Secret NAME-password.
var defaultUsers = []string{"admin", "operator", "viewer"}

const (
	accounts = `
SELECT username, roles, active, left(password_hash, 7) || '...' AS password_hash,
       failed_login_attempts AS failed, date_trunc('second', locked_until) AS locked_until
FROM users ORDER BY username`

	// The beginning of a hash: version, cost and a part of the salt.
	hashOfOperator = `SELECT username, left(password_hash, 14) || '...' AS password_hash FROM users WHERE username = 'operator'`
)

// messageOf returns the output format with which kubectl prints the message of a condition.
func messageOf(condition string) string {
	return fmt.Sprintf("jsonpath={.status.conditions[?(@.type==%q)].message}", condition)
}

func threeAccounts(ctx context.Context, s *story) error {
	if err := s.users(ctx, len(defaultUsers)); err != nil {
		return err
	}
	if err := s.kubectl(ctx, "wait", "--for=condition=Ready", "shardinguser", "--all", "--timeout=30s"); err != nil {
		return err
	}
	if err := s.kubectl(ctx, "get", "shardingusers"); err != nil {
		return err
	}
	if err := s.query(ctx, accounts); err != nil {
		return err
	}
	for _, name := range defaultUsers {
		r, err := s.row(ctx, name, "has its role", func(r row) bool { return r.Roles == `["`+name+`"]` })
		if err != nil {
			return err
		}
		password, err := s.password(ctx, name)
		if err != nil {
			return err
		}
		if !matches(r.Hash, password) {
			return fmt.Errorf("expected the hash of %s to be one of the password in its Secret; it is not", name)
		}
	}
	s.good("three rows, each with the bcrypt hash of the password in the Secret")
	return nil
}

func rotatedPassword(ctx context.Context, s *story) error {
	if err := s.query(ctx, hashOfOperator); err != nil {
		return err
	}
	before, err := s.db.row(ctx, "operator")
	if err != nil {
		return err
	}
	password := rand.Text() // never shown, unlike the well-known passwords
	s.command("NEW_PASSWORD=$(openssl rand -base64 18)\n" +
		`kubectl patch secret operator-password -p '{"stringData":{"password":"'"$NEW_PASSWORD"'"}}'`)
	begun := time.Now()
	if err := s.printed(s.cluster.Kubectl(ctx, "patch", "secret", "operator-password",
		"-p", `{"stringData":{"password":"`+password+`"}}`)); err != nil {
		return errors.New(strings.ReplaceAll(err.Error(), password, "xxxxx"))
	}
	after, err := s.row(ctx, "operator", "has another hash", func(r row) bool { return r.Hash != before.Hash })
	if err != nil {
		return err
	}
	changed := took(begun)
	if err := s.query(ctx, hashOfOperator); err != nil {
		return err
	}
	if err := s.event(ctx, "operator", v1alpha1.EventPasswordChanged); err != nil {
		return err
	}
	if err := s.kubectl(ctx, "get", "events", "--field-selector",
		"involvedObject.name=operator,reason="+v1alpha1.EventPasswordChanged); err != nil {
		return err
	}
	if !matches(after.Hash, []byte(password)) {
		return errors.New("expected the new hash to be one of the new password; it is not")
	}
	cost, err := bcrypt.Cost([]byte(after.Hash))
	if err != nil {
		return fmt.Errorf("read the hash: %w", err)
	}
	if err := s.user(ctx, userNamespace, "operator", "no longer has a weak password", func(status v1alpha1.ShardingUserStatus) bool {
		return meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionWeakPassword) == nil
	}); err != nil {
		return err
	}
	s.good("the new hash is a bcrypt hash of the new password, cost %d (%s)", cost, changed)
	s.good("the condition WeakPassword of the well-known password is gone")
	return nil
}

func unlock(ctx context.Context, s *story) error {
	request := time.Now().UTC().Format(time.RFC3339)
	begun := time.Now()
	if err := s.kubectl(ctx, "annotate", "shardinguser", "operator", "--overwrite",
		v1alpha1.AnnotationUnlockRequestedAt+"="+request); err != nil {
		return err
	}
	if _, err := s.row(ctx, "operator", "has neither lock nor failures", func(r row) bool {
		return r.Unlocked && r.Failed == 0
	}); err != nil {
		return err
	}
	if err := s.user(ctx, userNamespace, "operator", "is unlocked", func(status v1alpha1.ShardingUserStatus) bool {
		c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionLocked)
		return c != nil && c.Reason == v1alpha1.ReasonUnlocked && !status.Locked &&
			status.FailedLoginAttempts == 0 && status.LastHandledUnlock == request
	}); err != nil {
		return err
	}
	unlocked := took(begun)
	if err := s.kubectl(ctx, "get", "shardinguser", "operator"); err != nil {
		return err
	}
	s.good("the lock and the counter are cleared in the row and in the status (%s)", unlocked)
	return nil
}

func drift(ctx context.Context, s *story) error {
	begun := time.Now()
	if err := s.exec(ctx, `UPDATE users SET roles = '["admin"]' WHERE username = 'viewer'`); err != nil {
		return err
	}
	if _, err := s.row(ctx, "viewer", `has the roles ["viewer"] again`, func(r row) bool { return r.Roles == `["viewer"]` }); err != nil {
		return err
	}
	back := took(begun)
	if err := s.query(ctx, "SELECT username, roles FROM users WHERE username = 'viewer'"); err != nil {
		return err
	}
	if err := s.event(ctx, "viewer", v1alpha1.EventDriftCorrected); err != nil {
		return err
	}
	if err := s.kubectl(ctx, "get", "events", "--field-selector",
		"involvedObject.name=viewer,reason="+v1alpha1.EventDriftCorrected); err != nil {
		return err
	}
	s.good("viewer has its own role again (%s)", back)
	return nil
}

func refused(ctx context.Context, s *story) error {
	const rule = "a username starts with a letter or digit and contains only letters, digits and . _ @ + -"
	err := s.apply(ctx, `apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata:
  name: mallory
spec:
  username: "mallory'; DROP TABLE users; --"
`)
	switch {
	case err == nil:
		return errors.New("expected the API server to reject it; it did not")
	case !strings.Contains(err.Error(), rule):
		return fmt.Errorf("expected the API server to report %q; it reported:\n%w", rule, err)
	}
	s.good("rejected, with the rule")
	return nil
}

func taken(ctx context.Context, s *story) error {
	before, err := s.db.row(ctx, "admin")
	if err != nil {
		return err
	}
	if err := s.kubectl(ctx, "create", "namespace", "team-b"); err != nil {
		return err
	}
	if err := s.apply(ctx, `apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata:
  name: admin
  namespace: team-b
`); err != nil {
		return err
	}
	if err := s.user(ctx, "team-b", "admin", "reports that the username is taken", hasReason(v1alpha1.ReasonUsernameTaken)); err != nil {
		return err
	}
	if err := s.kubectl(ctx, "get", "shardingusers", "-n", "team-b", "-o", "wide"); err != nil {
		return err
	}
	if err := s.kubectl(ctx, "get", "shardinguser", "admin", "-n", "team-b", "-o", messageOf(v1alpha1.ConditionReady)); err != nil {
		return err
	}
	if err := s.kubectl(ctx, "delete", "shardinguser", "admin", "-n", "team-b", "--timeout=30s"); err != nil {
		return err
	}
	after, err := s.db.row(ctx, "admin")
	switch {
	case err != nil:
		return err
	case after != before:
		return fmt.Errorf("expected the row of admin as it was, updated at %s; it was updated at %s", before.Updated, after.Updated)
	}
	s.good("the row of admin did not change")
	return nil
}

func deletion(ctx context.Context, s *story) error {
	if err := s.kubectl(ctx, "delete", "shardinguser", "viewer", "--timeout=30s"); err != nil {
		return err
	}
	if err := s.query(ctx, accounts); err != nil {
		return err
	}
	r, err := s.db.row(ctx, "viewer")
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		s.good("the row of viewer is gone")
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("expected no row of viewer; there is one, updated at %s", r.Updated)
}
