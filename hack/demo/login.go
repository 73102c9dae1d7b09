// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const (
	lockoutAttempts = 5 // the manager's default

	attemptsOnRecord = `
SELECT date_trunc('second', attempted_at) AS attempted_at, username, outcome, source
FROM login_attempts ORDER BY id`
	lastLogIn = `
SELECT username, date_trunc('second', last_login_at) AS last_login_at, failed_login_attempts AS failed
FROM users WHERE username = 'operator'`

	// The demo never prints the password of operator; commands read it from the Secret.
	readPassword  = `PASSWORD=$(kubectl get secret operator-password -o jsonpath={.data.password} | base64 -d)`
	passwordInEnv = `'"$PASSWORD"'`
)

// loginURL returns the base URL of the login API.
func (s *stage) loginURL() string {
	return "https://" + s.manager.Login + "/api/v1/auth"
}

// curlLogIn returns the command line of a login.
func curlLogIn(username, password string) string {
	return fmt.Sprintf(`curl -k $LOGIN/login -d '{"username":"%s","password":"%s"}'`, username, password)
}

// logIn tries a password and shows the answer, with only the beginning of a token.
func (s *story) logIn(ctx context.Context, username, password string) (answer testenv.Answer, token string, err error) {
	if answer, err = s.manager.LogIn(ctx, username, password); err != nil {
		return answer, "", err
	}
	var body struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(answer.Body), &body); err != nil {
		return answer, "", fmt.Errorf("expected an answer in JSON: %w", err)
	}
	shown := answer.Body
	if body.Token != "" {
		const beginning = 20
		shown = strings.ReplaceAll(shown, body.Token, body.Token[:min(beginning, len(body.Token))]+"...")
	}
	s.output(shown)
	return answer, body.Token, nil
}

// refusal returns the parts of an answer by which a client could distinguish refusals.
func refusal(a testenv.Answer) string {
	var headers []string
	for _, name := range slices.Sorted(maps.Keys(a.Header)) {
		if name != "Date" {
			headers = append(headers, fmt.Sprint(name, a.Header[name]))
		}
	}
	return fmt.Sprintf("%d %s %s", a.Status, headers, a.Body)
}

func fiveFailures(ctx context.Context, s *story) error {
	events, err := s.api.Watch(ctx, &v1alpha1.ShardingUserList{}, &client.ListOptions{
		Namespace: userNamespace, FieldSelector: fields.OneTermEqualSelector("metadata.name", "operator"),
	})
	if err != nil {
		return fmt.Errorf("watch the user: %w", err)
	}
	defer events.Stop()
	s.command("LOGIN=" + s.loginURL())
	s.command(fmt.Sprintf("for i in $(seq %d); do\n  %s; echo\ndone", lockoutAttempts, curlLogIn("operator", "a guess")))
	var wrong testenv.Answer
	for range lockoutAttempts {
		if wrong, _, err = s.logIn(ctx, "operator", "a guess"); err != nil {
			return err
		}
		if wrong.Status != http.StatusUnauthorized {
			return fmt.Errorf("expected a refusal with status 401; it has status %d", wrong.Status)
		}
	}
	begun := time.Now()
	if err := s.lockSeen(ctx, events); err != nil {
		return err
	}
	shown := took(begun)
	if err := s.kubectl(ctx, "get", "shardingusers"); err != nil {
		return err
	}
	if err := s.user(ctx, userNamespace, "operator", "is locked after 5 failures", func(status v1alpha1.ShardingUserStatus) bool {
		return status.Locked && status.FailedLoginAttempts == lockoutAttempts && status.LockedUntil != nil
	}); err != nil {
		return err
	}
	if err := s.kubectl(ctx, "get", "shardinguser", "operator", "-o", messageOf(v1alpha1.ConditionLocked)); err != nil {
		return err
	}
	if err := s.sameAnswers(ctx, wrong); err != nil {
		return err
	}
	s.good("Locked=True was reported %s after the answer to the fifth attempt", shown)
	s.good("the right password, an unknown username and a wrong password get the same answer")
	return nil
}

// lockSeen waits for Locked=True.
func (s *story) lockSeen(ctx context.Context, events watch.Interface) error {
	deadline, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		select {
		case event, ok := <-events.ResultChan():
			if !ok {
				return errors.New("expected Locked=True; the watch ended before")
			}
			u, ok := event.Object.(*v1alpha1.ShardingUser)
			if ok && meta.IsStatusConditionTrue(u.Status.Conditions, v1alpha1.ConditionLocked) {
				return nil
			}
		case <-deadline.Done():
			return fmt.Errorf("expected Locked=True within %s", patience)
		}
	}
}

// sameAnswers tries the right password of the locked account, and an unknown username: both must get the answer that a wrong
// password got.
func (s *story) sameAnswers(ctx context.Context, wrong testenv.Answer) error {
	password, err := s.password(ctx, "operator")
	if err != nil {
		return err
	}
	s.command(readPassword + "\n" + curlLogIn("operator", passwordInEnv))
	locked, _, err := s.logIn(ctx, "operator", string(password))
	if err != nil {
		return err
	}
	s.command(curlLogIn("nobody", "a guess"))
	unknown, _, err := s.logIn(ctx, "nobody", "a guess")
	if err != nil {
		return err
	}
	for what, answer := range map[string]testenv.Answer{"a locked account": locked, "an unknown name": unknown} {
		if refusal(answer) != refusal(wrong) {
			return fmt.Errorf("expected the same answer for %s as for a wrong password,\n%s\nit is\n%s",
				what, refusal(wrong), refusal(answer))
		}
	}
	return nil
}

func loggedIn(ctx context.Context, s *story) error {
	password, err := s.password(ctx, "operator")
	if err != nil {
		return err
	}
	s.command(curlLogIn("operator", passwordInEnv))
	begun := time.Now()
	answer, token, err := s.logIn(ctx, "operator", string(password))
	if err != nil {
		return err
	}
	answered := took(begun)
	if answer.Status != http.StatusOK || token == "" {
		return fmt.Errorf("expected status 200 and a token; the status is %d", answer.Status)
	}

	s.command(`curl -kis $LOGIN/verify -H "Authorization: Bearer $TOKEN" | grep -i ^x-auth`)
	if answer, err = s.manager.Verify(ctx, "Bearer "+token); err != nil {
		return err
	}
	for _, name := range []string{"X-Auth-Username", "X-Auth-Roles"} {
		value := answer.Header.Get(name)
		s.output(strings.ToLower(name) + ": " + value)
		if answer.Status != http.StatusOK || value != "operator" {
			return fmt.Errorf("expected status 200 and operator in %s; the status is %d", name, answer.Status)
		}
	}
	s.good("logged in (%s); the token belongs to operator, with the role operator", answered)
	return nil
}

func record(ctx context.Context, s *story) error {
	// The row of a failure is settled after its answer is sent.
	err := s.until(ctx, "recorded: 5 failures, one attempt while locked, one with an unknown username, and a success",
		func(ctx context.Context) (string, bool, error) {
			all, err := s.db.attempts(ctx)
			var outcomes []string
			named := false
			for _, a := range all {
				outcomes = append(outcomes, a.Outcome)
				named = named || a.Username == "nobody"
			}
			saw := strings.Join(outcomes, " ")
			return saw, saw == strings.Repeat("failed ", lockoutAttempts)+"locked unknown success" && !named, err
		})
	if err != nil {
		return err
	}
	if err := s.query(ctx, attemptsOnRecord); err != nil {
		return err
	}
	if err := s.query(ctx, lastLogIn); err != nil {
		return err
	}
	r, err := s.db.row(ctx, "operator")
	switch {
	case err != nil:
		return err
	case !r.LoggedIn || r.Failed != 0:
		return fmt.Errorf("expected a last login and a counter of 0; logged in is %t, with %d failures", r.LoggedIn, r.Failed)
	}
	s.good("all attempts are recorded, and the success reset the counter")
	return nil
}
