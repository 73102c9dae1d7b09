// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/bcrypt"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

const (
	poll     = 20 * time.Millisecond
	patience = 30 * time.Second // for a busy machine; usually it takes milliseconds
)

var gitVersion = regexp.MustCompile(`"gitVersion": *"([^"]+)"`)

// A story has the methods of its steps, which show commands and check their results.
type story struct {
	*stage
	*screen
}

// kubectl shows and runs a command, and shows its output.
func (s *story) kubectl(ctx context.Context, args ...string) error {
	s.command(words(append([]string{"kubectl"}, args...)...))
	return s.printed(s.cluster.Kubectl(ctx, args...))
}

// apply shows and applies a manifest, and shows the output.
func (s *story) apply(ctx context.Context, manifest string) error {
	s.command("kubectl apply -f - <<EOF\n" + manifest + "EOF")
	return s.printed(s.cluster.Apply(ctx, manifest))
}

// printed shows the output of kubectl. If kubectl failed, printed also shows and returns its error message.
func (s *story) printed(output string, err error) error {
	s.output(output)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if _, said, ok := strings.Cut(err.Error(), exit.Error()+": "); ok {
			s.output(said)
			return errors.New(said)
		}
	}
	return err
}

// query shows and runs a query, and shows its result.
func (s *story) query(ctx context.Context, query string) error {
	s.command(psqlLine(query))
	table, err := s.db.table(ctx, query)
	s.output(table)
	return err
}

// exec shows and runs a statement, which must change one row.
func (s *story) exec(ctx context.Context, statement string) error {
	s.command(psqlLine(statement))
	tag, err := s.db.conn.Exec(ctx, statement)
	if err != nil {
		return fmt.Errorf("run the statement: %w", err)
	}
	s.output(tag.String())
	if tag.RowsAffected() != 1 {
		return fmt.Errorf("expected the statement to change 1 row; it changed %d", tag.RowsAffected())
	}
	return nil
}

// until calls look until it returns ok. Saw describes the current state for the error.
func (s *story) until(ctx context.Context, expected string, look func(context.Context) (saw string, ok bool, err error)) error {
	var saw string
	deadline, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := wait.PollUntilContextCancel(deadline, poll, true, func(ctx context.Context) (bool, error) {
		now, ok, err := look(ctx)
		if err == nil {
			saw = now
		}
		return ok, err
	})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case deadline.Err() != nil:
		return fmt.Errorf("expected %s; after %s saw %s", expected, patience, saw)
	}
	return err
}

// row waits until an account's row is as expected.
func (s *story) row(ctx context.Context, username, expected string, is func(row) bool) (row, error) {
	var found row
	err := s.until(ctx, "the row of "+username+" "+expected, func(ctx context.Context) (string, bool, error) {
		var err error
		found, err = s.db.row(ctx, username)
		if errors.Is(err, pgx.ErrNoRows) {
			return "no row", false, nil
		}
		saw := fmt.Sprintf("roles %s, %d failed attempts, unlocked %t, updated at %s", found.Roles, found.Failed,
			found.Unlocked, found.Updated)
		return saw, err == nil && is(found), err
	})
	return found, err
}

// user waits until a resource's status is as expected.
func (s *story) user(ctx context.Context, namespace, name, expected string, is func(v1alpha1.ShardingUserStatus) bool) error {
	return s.until(ctx, "ShardingUser "+name+" "+expected, func(ctx context.Context) (string, bool, error) {
		var u v1alpha1.ShardingUser
		err := s.api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &u)
		return "the conditions " + conditions(u.Status), err == nil && is(u.Status), err
	})
}

func conditions(status v1alpha1.ShardingUserStatus) string {
	var all []string
	for _, c := range status.Conditions {
		all = append(all, fmt.Sprintf("%s=%s (%s)", c.Type, c.Status, c.Reason))
	}
	return strings.Join(all, ", ")
}

// users waits until there are n resources.
func (s *story) users(ctx context.Context, n int) error {
	return s.until(ctx, fmt.Sprintf("%d ShardingUsers", n), func(ctx context.Context) (string, bool, error) {
		var list v1alpha1.ShardingUserList
		err := s.api.List(ctx, &list, client.InNamespace(userNamespace))
		return fmt.Sprint(len(list.Items)), len(list.Items) == n, err
	})
}

// event waits for an Event about a default user.
func (s *story) event(ctx context.Context, name, reason string) error {
	return s.until(ctx, "an Event "+reason+" about "+name, func(ctx context.Context) (string, bool, error) {
		var list corev1.EventList
		err := s.api.List(ctx, &list, client.InNamespace(userNamespace))
		var reasons []string
		for _, e := range list.Items {
			if e.InvolvedObject.Name != name {
				continue
			}
			if e.Reason == reason {
				return "", true, nil
			}
			reasons = append(reasons, e.Reason)
		}
		return "the Events " + strings.Join(reasons, ", "), false, err
	})
}

// password returns the password in the Secret of a user.
func (s *story) password(ctx context.Context, name string) ([]byte, error) {
	var secret corev1.Secret
	if err := s.api.Get(ctx, client.ObjectKey{Namespace: userNamespace, Name: name + "-password"}, &secret); err != nil {
		return nil, fmt.Errorf("read the Secret of %s: %w", name, err)
	}
	return secret.Data["password"], nil
}

// matches reports whether a hash is one of the password.
func matches(hash string, password []byte) bool {
	return bcrypt.CompareHashAndPassword([]byte(hash), password) == nil
}

// took returns the time since then for printing.
func took(since time.Time) string {
	d := time.Since(since)
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
