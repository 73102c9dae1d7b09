// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

const robot = `apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata:
  name: robot
spec:
  roles: [viewer]
  password:
    secretRef: {name: robot-password}
    generate: {}
    maxAge: 2160h
`

func generatedPassword(ctx context.Context, s *story) error {
	if err := s.apply(ctx, robot); err != nil {
		return err
	}
	if err := s.kubectl(ctx, "wait", "--for=condition=Ready", "shardinguser/robot", "--timeout=30s"); err != nil {
		return err
	}
	if err := s.kubectl(ctx, "get", "secret", "robot-password"); err != nil {
		return err
	}
	password, err := s.password(ctx, "robot")
	if err != nil {
		return err
	}
	if len(password) != 24 {
		return fmt.Errorf("expected a password of 24 characters; there are %d", len(password))
	}
	s.command(curlLogIn("robot", passwordInEnv))
	answer, _, err := s.logIn(ctx, "robot", string(password))
	if err != nil {
		return err
	}
	if answer.Status != http.StatusOK {
		return fmt.Errorf("expected status 200; it is %d", answer.Status)
	}
	s.good("robot can log in with the password in the Secret, which no person has seen")
	if err := s.kubectl(ctx, "delete", "shardinguser", "robot"); err != nil {
		return err
	}
	if row, err := s.db.row(ctx, "robot"); err == nil {
		return errors.New("expected the row to be deleted with the resource; it reports " + row.Roles)
	}
	return nil
}
