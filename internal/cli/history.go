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
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func actionNames() (names []string) {
	for _, action := range user.Actions() {
		names = append(names, string(action))
	}
	return names
}

type historian struct {
	*env
	output   output
	source   trailSource
	username string
	since    time.Duration
	actions  []string
	limit    int
}

func newHistory(e *env) *cobra.Command {
	h := &historian{env: e, source: trailSource{env: e}}
	cmd := &cobra.Command{
		Use:   "history NAME",
		Short: "Show the changes that the operator made of a user",
		Long: `Show the changes that the operator made of a user, the latest first: what was changed, which field manager asked for it, and why.

Actions are ` + strings.Join(actionNames(), ", ") + `. A change of several kinds is "updated". Drift is a change of another program that the
operator corrected.

` + aboutTrail,
		Example: `  # The latest changes of the ShardingUser alice
  kubectl shardinguser history alice

  # The locks and unlocks of this week
  kubectl shardinguser history alice --since 168h --action locked,unlocked

  # By the username, also of a user that is gone
  kubectl shardinguser history --username alice@example.com -o json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: e.completeUsers(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return h.run(cmd.Context(), args) },
	}
	h.output.bind(cmd, asJSON, asYAML)
	h.source.bind(cmd)
	flags := cmd.Flags()
	flags.StringVar(&h.username, "username", "", "The username, instead of the name of a ShardingUser")
	flags.DurationVar(&h.since, "since", 0, "Only changes of this recent time, such as 24h")
	flags.StringSliceVar(&h.actions, "action", nil, "Only changes of these kinds: "+strings.Join(actionNames(), ", "))
	flags.IntVar(&h.limit, "limit", 20, "Maximum number of changes, 0 for all")
	complete(cmd, "action", words(actionNames()...))
	complete(cmd, "username", cobra.NoFileCompletions)
	return cmd
}

func (h *historian) run(ctx context.Context, args []string) error {
	query, err := h.query(args)
	if err != nil {
		return err
	}
	if query.Username == "" {
		if query.Username, err = h.source.usernameOf(ctx, args[0]); err != nil {
			return err
		}
	}
	trail, done, err := h.source.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	changes, err := trail.Changes(ctx, query)
	if err != nil {
		return err
	}
	return h.tell(query.Username, changes)
}

// usernameOf returns the username of a ShardingUser. The operator of its system is asked, unless the flag names another one.
func (s *trailSource) usernameOf(ctx context.Context, name string) (string, error) {
	kube, namespace, err := s.cluster()
	if err != nil {
		return "", err
	}
	u, err := getUser(ctx, kube, namespace, name)
	if err != nil {
		return "", err
	}
	if s.system == "" {
		s.system = u.Spec.System
	}
	return user.Username(u), nil
}

// query is what was asked for; without a username if a ShardingUser has it.
func (h *historian) query(args []string) (store.ChangeQuery, error) {
	query := store.ChangeQuery{Username: h.username, Since: h.since, Limit: h.limit}
	switch {
	case (h.username == "") == (len(args) == 0):
		return query, errors.New("set the name of a ShardingUser, or --username")
	case h.since < 0 || h.limit < 0:
		return query, errors.New("--since and --limit must not be negative")
	}
	for _, name := range h.actions {
		if !slices.Contains(user.Actions(), user.Action(name)) {
			return query, fmt.Errorf("the action %q is not one of %s", name, strings.Join(actionNames(), ", "))
		}
		query.Actions = append(query.Actions, user.Action(name))
	}
	return query, h.output.check()
}

func (h *historian) tell(username string, changes []audit.Change) error {
	if h.output.structured() {
		if changes == nil {
			changes = []audit.Change{}
		}
		return h.output.value(h.Out, struct {
			Username string         `json:"username"`
			Changes  []audit.Change `json:"changes"`
		}{username, changes})
	}
	if len(changes) == 0 {
		h.ErrOut.say("No such changes of %q are recorded.", username)
		return nil
	}
	rows := make([][]string, 0, len(changes))
	for _, c := range changes {
		rows = append(rows, []string{
			c.Time.UTC().Format(time.RFC3339), string(c.Action), difference(c), orDash(c.Manager), c.Resource.Namespace + "/" + c.Resource.Name, orDash(c.Reason),
		})
	}
	table(h.Out, []string{"TIME", "ACTION", "CHANGE", "MANAGER", "SHARDINGUSER", "REASON"}, rows)
	return nil
}

// difference says what a change changed.
func difference(c audit.Change) string {
	var parts []string
	if c.NewActive != nil && (c.OldActive == nil || !slices.Equal(c.OldRoles, c.NewRoles)) {
		parts = append(parts, "roles "+set(c.OldRoles, c.OldActive == nil)+"->"+set(c.NewRoles, false))
	}
	if c.OldActive != nil && c.NewActive != nil && *c.OldActive != *c.NewActive {
		parts = append(parts, fmt.Sprintf("active %t->%t", *c.OldActive, *c.NewActive))
	}
	if c.PasswordChanged && c.OldActive != nil {
		parts = append(parts, "password")
	}
	return orDash(strings.Join(parts, ", "))
}

// set writes roles, which are missing where there was no row.
func set(roles []string, isMissing bool) string {
	if isMissing {
		return ""
	}
	return "[" + strings.Join(roles, " ") + "]"
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
