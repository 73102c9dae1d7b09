// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

type lister struct {
	*env
	output        output
	allNamespaces bool
	locked        bool
	selector      string
	expiresWithin time.Duration
	system        systemFlag
}

func newList(e *env) *cobra.Command {
	l := &lister{env: e}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List users and their state",
		Long: `List users and their state.

STATE is Ready, NotReady with the reason, Pending (the operator has not processed the latest edit yet), Paused or Terminating. It
is also Locked, Expired or Inactive if logins are refused.`,
		Example: `  # The users of a namespace
  kubectl shardinguser list -n team-a

  # The locked users of all namespaces
  kubectl shardinguser list -A --locked

  # The users that have ended or end within a week
  kubectl shardinguser list -A --expires-within 168h

  # With ends, Secrets, policies and warnings
  kubectl shardinguser list -o wide`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return l.run(cmd.Context()) },
	}
	l.output.bind(cmd, asWide, asJSON, asYAML, asName)
	cmd.Flags().BoolVarP(&l.allNamespaces, "all-namespaces", "A", false, "List the users of all namespaces")
	cmd.Flags().BoolVar(&l.locked, "locked", false, "List only users that are locked, because of failed attempts or by lock")
	cmd.Flags().DurationVar(&l.expiresWithin, "expires-within", 0, "List only users that have ended or end within this time, such as 168h")
	cmd.Flags().StringVarP(&l.selector, "selector", "l", "", "List only users with these labels")
	l.system.bind(cmd, "List only users of this sharding system; --system= for the default one")
	return cmd
}

func (l *lister) run(ctx context.Context) error {
	if err := l.output.check(); err != nil {
		return err
	}
	kube, namespace, err := l.cluster()
	if err != nil {
		return err
	}
	if l.allNamespaces {
		namespace = ""
	}
	list, err := listUsers(ctx, kube, namespace, l.locked, l.selector, l.system.options()...)
	if err != nil {
		return err
	}
	if l.expiresWithin > 0 {
		list = slices.DeleteFunc(list, func(u v1alpha1.ShardingUser) bool { return !endsBefore(&u, time.Now().Add(l.expiresWithin)) })
	}
	if l.output.format != "" && l.output.format != asWide {
		return l.output.users(l.Out, list, true)
	}
	if len(list) == 0 {
		l.ErrOut.say("%s", nobody(namespace, l.locked))
		return nil
	}
	header, rows := columns(list, time.Now(), l.output.format == asWide, l.allNamespaces)
	table(l.Out, header, rows)
	return nil
}

// listUsers are the users of a namespace, or of all where it is empty, in the order of their names.
func listUsers(
	ctx context.Context, kube client.Client, namespace string, locked bool, selector string, of ...fields.Selector,
) ([]v1alpha1.ShardingUser, error) {
	if locked {
		of = append(of, fields.OneTermEqualSelector("status.locked", "true"))
	}
	options := []client.ListOption{client.InNamespace(namespace)}
	if len(of) > 0 {
		options = append(options, client.MatchingFieldsSelector{Selector: fields.AndSelectors(of...)})
	}
	if selector != "" {
		labels, err := metav1.ParseToLabelSelector(selector)
		if err != nil {
			return nil, fmt.Errorf("cannot parse the selector %q: %w", selector, err)
		}
		s, err := metav1.LabelSelectorAsSelector(labels)
		if err != nil {
			return nil, fmt.Errorf("cannot parse the selector %q: %w", selector, err)
		}
		options = append(options, client.MatchingLabelsSelector{Selector: s})
	}
	var list v1alpha1.ShardingUserList
	if err := kube.List(ctx, &list, options...); err != nil {
		return nil, err
	}
	slices.SortFunc(list.Items, func(a, b v1alpha1.ShardingUser) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return list.Items, nil
}

// endsBefore reports whether a user has an end before this time.
func endsBefore(u *v1alpha1.ShardingUser, at time.Time) bool {
	return u.Spec.ValidUntil != nil && u.Spec.ValidUntil.Time.Before(at)
}

func nobody(namespace string, locked bool) string {
	who := "ShardingUsers"
	if locked {
		who = "locked ShardingUsers"
	}
	if namespace == "" {
		return fmt.Sprintf("No %s found.", who)
	}
	return fmt.Sprintf("No %s found in the namespace %q.", who, namespace)
}

// systemFlag is the flag --system. The default system has the empty name, so the flag knows whether it was given.
type systemFlag struct {
	name string
	flag *pflag.Flag
}

func (s *systemFlag) bind(cmd *cobra.Command, help string) { s.bindAs(cmd, "system", help) }

// bindAs adds the flag under another name.
func (s *systemFlag) bindAs(cmd *cobra.Command, name, help string) {
	cmd.Flags().StringVar(&s.name, name, "", help)
	s.flag = cmd.Flags().Lookup(name)
}

// options returns the selector of the system; none if the flag was not given.
func (s *systemFlag) options() []fields.Selector {
	if !s.flag.Changed {
		return nil
	}
	return []fields.Selector{fields.OneTermEqualSelector("spec.system", s.name)}
}

// columns are the table of the users. SYSTEM is among them if a user belongs to a named system.
func columns(users []v1alpha1.ShardingUser, now time.Time, wide, namespaces bool) (header []string, rows [][]string) {
	header = []string{"NAME", "USERNAME", "STATE", "ROLES", "FAILED", "LAST-LOGIN"}
	if namespaces {
		header = slices.Insert(header, 0, "NAMESPACE")
	}
	hasSystems := slices.ContainsFunc(users, func(u v1alpha1.ShardingUser) bool { return u.Spec.System != "" })
	if hasSystems {
		header = slices.Insert(header, slices.Index(header, "STATE"), "SYSTEM")
	}
	if wide {
		header = append(header, "VALID-UNTIL", "SECRET", "PERMITTED-BY", "WARNINGS", "AGE")
	}
	for i := range users {
		u := &users[i]
		row := []string{
			u.Name, user.Username(u), state(u), joined(u.Spec.Roles),
			strconv.Itoa(int(u.Status.FailedLoginAttempts)), ago(now, timeOf(u.Status.LastLoginTime)),
		}
		if hasSystems {
			row = slices.Insert(row, 2, u.Spec.System)
		}
		if namespaces {
			row = slices.Insert(row, 0, u.Namespace)
		}
		if wide {
			secret := ""
			if u.Spec.Password != nil {
				secret = u.Spec.Password.SecretRef.Name
			}
			end := ""
			if u.Spec.ValidUntil != nil {
				end = u.Spec.ValidUntil.UTC().Format(time.RFC3339)
			}
			row = append(row, end, secret, u.Status.PermittedBy, strings.Join(warnings(u), ","), ago(now, &u.CreationTimestamp.Time))
		}
		rows = append(rows, row)
	}
	return header, rows
}

func timeOf(t *metav1.Time) *time.Time {
	if t == nil {
		return nil
	}
	return &t.Time
}

func joined(roles []v1alpha1.Role) string {
	names := make([]string, 0, len(roles))
	for _, role := range roles {
		names = append(names, string(role))
	}
	return strings.Join(names, ",")
}
