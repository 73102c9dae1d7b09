// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// completeTimeout is how long a shell is kept waiting.
const completeTimeout = 3 * time.Second

// complete registers what completes a flag of the command, which has just been added.
func complete(cmd *cobra.Command, flag string, function cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, function); err != nil {
		panic(err)
	}
}

// completeUsers completes the names of the namespace's users that are not among the arguments yet, at most so many of them.
func (e *env) completeUsers(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var list v1alpha1.ShardingUserList
		names := e.complete(cmd.Context(), &list, func() (names []string) {
			for i := range list.Items {
				names = append(names, list.Items[i].Name)
			}
			return names
		})
		return slices.DeleteFunc(names, func(name string) bool {
			return slices.Contains(args, name) || !strings.HasPrefix(name, begin)
		}), cobra.ShellCompDirectiveNoFileComp
	}
}

func (e *env) completeNamespaces(cmd *cobra.Command, _ []string, begin string) ([]string, cobra.ShellCompDirective) {
	var list corev1.NamespaceList
	names := e.complete(cmd.Context(), &list, func() (names []string) {
		for i := range list.Items {
			names = append(names, list.Items[i].Name)
		}
		return names
	})
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, begin) }), cobra.ShellCompDirectiveNoFileComp
}

// complete fills the list and returns its names; none where the cluster does not answer, which is no place to complain.
func (e *env) complete(ctx context.Context, list client.ObjectList, names func() []string) []string {
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	kube, namespace, err := e.cluster()
	if err != nil {
		return nil
	}
	var options []client.ListOption
	if _, ok := list.(*v1alpha1.ShardingUserList); ok {
		options = append(options, client.InNamespace(namespace))
	}
	if err := kube.List(ctx, list, options...); err != nil {
		return nil
	}
	return names()
}

// words completes a flag by one of these.
func words(all ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(all, cobra.ShellCompDirectiveNoFileComp)
}
