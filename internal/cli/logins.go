// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sharding-system/shardinguser-operator/internal/audit"
	"github.com/sharding-system/shardinguser-operator/internal/store"
)

var outcomes = []store.Outcome{
	store.Succeeded, store.Failed, store.RefusedLocked, store.RefusedInactive, store.RefusedUnknown, store.Pending,
	store.Unchecked,
}

func outcomeNames() (names []string) {
	for _, outcome := range outcomes {
		names = append(names, string(outcome))
	}
	return names
}

type auditor struct {
	*env
	output   output
	source   trailSource
	username string
	since    time.Duration
	outcomes []string
	limit    int
}

func newLogins(e *env) *cobra.Command {
	a := &auditor{env: e, source: trailSource{env: e}}
	cmd := &cobra.Command{
		Use:   "logins NAME",
		Short: "Show the login attempts of a user",
		Long: `Show the login attempts of a user from the audit trail, the latest first.

Outcomes are success, failed, locked, inactive (refused without a check), unknown, and pending for an attempt that was never
settled. An attempt with a username that no account has is recorded under a digest of the username.

` + aboutTrail,
		Example: `  # The latest attempts of the ShardingUser alice
  kubectl shardinguser logins alice

  # The failed attempts of the last day
  kubectl shardinguser logins alice --since 24h --outcome failed,locked

  # By the username, without a cluster
  kubectl shardinguser logins --username alice@example.com --dsn-file ./dsn.txt -o json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: e.completeUsers(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.run(cmd.Context(), args) },
	}
	a.output.bind(cmd, asJSON, asYAML)
	a.source.bind(cmd)
	flags := cmd.Flags()
	flags.StringVar(&a.username, "username", "", "The username, instead of the name of a ShardingUser")
	flags.DurationVar(&a.since, "since", 0, "Only attempts of this recent time, such as 24h")
	flags.StringSliceVar(&a.outcomes, "outcome", nil, "Only attempts with these outcomes: "+strings.Join(outcomeNames(), ", "))
	flags.IntVar(&a.limit, "limit", 20, "Maximum number of attempts, 0 for all")
	complete(cmd, "outcome", words(outcomeNames()...))
	complete(cmd, "username", cobra.NoFileCompletions)
	return cmd
}

// loginRecord is an attempt as programs get it.
type loginRecord struct {
	Time      time.Time     `json:"time"`
	Outcome   store.Outcome `json:"outcome"`
	Source    string        `json:"source"`
	UserAgent string        `json:"userAgent"`
}

func (a *auditor) run(ctx context.Context, args []string) error {
	trail, err := a.trail(args)
	if err != nil {
		return err
	}
	if trail.Username == "" {
		if trail.Username, err = a.source.usernameOf(ctx, args[0]); err != nil {
			return err
		}
	}
	reader, done, err := a.source.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	records, err := reader.ReadAttempts(ctx, trail)
	if err != nil {
		return err
	}
	return a.tell(trail.Username, records)
}

// trail is what was asked for; without a username where a ShardingUser has it.
func (a *auditor) trail(args []string) (store.Trail, error) {
	trail := store.Trail{Username: a.username, Since: a.since, Limit: a.limit}
	switch {
	case (a.username == "") == (len(args) == 0):
		return trail, errors.New("set the name of a ShardingUser, or --username")
	case a.since < 0 || a.limit < 0:
		return trail, errors.New("--since and --limit must not be negative")
	}
	for _, name := range a.outcomes {
		if !slices.Contains(outcomes, store.Outcome(name)) {
			return trail, fmt.Errorf("the outcome %q is not one of %s", name, strings.Join(outcomeNames(), ", "))
		}
		trail.Outcomes = append(trail.Outcomes, store.Outcome(name))
	}
	return trail, a.output.check()
}

func (a *auditor) tell(username string, records []audit.Attempt) error {
	if a.output.structured() {
		attempts := make([]loginRecord, 0, len(records))
		for _, r := range records {
			attempts = append(attempts, loginRecord{r.Time.UTC(), r.Outcome, r.Source, r.UserAgent})
		}
		return a.output.value(a.Out, struct {
			Username string        `json:"username"`
			Attempts []loginRecord `json:"attempts"`
		}{username, attempts})
	}
	if len(records) == 0 {
		a.ErrOut.say("No such attempts of %q are recorded.", username)
		return nil
	}
	rows := make([][]string, 0, len(records))
	for _, r := range records {
		rows = append(rows, []string{r.Time.UTC().Format(time.RFC3339), string(r.Outcome), r.Source, r.UserAgent})
	}
	table(a.Out, []string{"TIME", "OUTCOME", "SOURCE", "USER-AGENT"}, rows)
	return nil
}
