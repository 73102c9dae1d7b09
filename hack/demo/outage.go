// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

const lockOfOperator = `
SELECT username, failed_login_attempts AS failed, date_trunc('second', locked_until) AS locked_until
FROM users WHERE username = 'operator'`

// outage stops the database server, if it belongs to the demo.
func outage(ctx context.Context, s *story) error {
	if os.Getenv("TEST_DATABASE_DSN") != "" {
		s.good("skipped: the server of TEST_DATABASE_DSN is not part of the demo and keeps running")
		return nil
	}
	s.command("pg_ctl stop -m fast")
	if err := s.postgres.Halt(ctx); err != nil {
		return err
	}
	password, err := s.password(ctx, "operator")
	if err != nil {
		return err
	}
	// An attempt that was running when the server stopped is not decided.
	if err := s.until(ctx, "a login to be decided from the account cache", func(ctx context.Context) (string, bool, error) {
		answer, err := s.manager.LogIn(ctx, "operator", string(password))
		return fmt.Sprint("status ", answer.Status), answer.Status == http.StatusOK, err
	}); err != nil {
		return err
	}
	s.command(curlLogIn("operator", passwordInEnv))
	if _, token, err := s.logIn(ctx, "operator", string(password)); err != nil || token == "" {
		return fmt.Errorf("expected a token; there is none: %w", err)
	}
	s.command(fmt.Sprintf("for i in $(seq %d); do\n  %s; echo\ndone", lockoutAttempts, curlLogIn("operator", "a guess")))
	for range lockoutAttempts {
		if _, _, err := s.logIn(ctx, "operator", "a guess"); err != nil {
			return err
		}
	}
	if err := s.user(ctx, userNamespace, "operator", "is locked", func(status v1alpha1.ShardingUserStatus) bool {
		return status.Locked && status.LockedUntil != nil
	}); err != nil {
		return err
	}
	if err := s.kubectl(ctx, "get", "shardinguser", "operator"); err != nil {
		return err
	}
	return s.outageEnds(ctx)
}

// outageEnds starts the server again, and checks that the changes during the outage reach the table.
func (s *story) outageEnds(ctx context.Context) error {
	s.command("pg_ctl start")
	if err := s.postgres.Start(ctx); err != nil {
		return err
	}
	begun := time.Now()
	conn, err := pgx.Connect(ctx, s.db.dsn)
	if err != nil {
		return fmt.Errorf("connect to the database again: %w", err)
	}
	s.db.conn = conn
	if _, err := s.row(ctx, "operator", "is locked after 5 failures", func(r row) bool {
		return !r.Unlocked && r.Failed == lockoutAttempts
	}); err != nil {
		return err
	}
	merged := took(begun)
	if err := s.query(ctx, lockOfOperator); err != nil {
		return err
	}
	s.good("logins continued, and the lock from the outage is in the table (%s after Postgres returned)", merged)
	return nil
}
