// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"

	"github.com/spf13/cobra"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Usernames of two systems are independent, and a system may have another database: its users get no account of this one by chance.
func TestAnAccountIsTakenFromTheNamedOwnersOnly(t *testing.T) {
	t.Parallel()
	to := user.Owner{Cluster: "here", System: "orders", Namespace: "team-b", Name: "alice", UID: "2"}
	for name, tt := range map[string]struct {
		flags map[string]string
		owner user.Owner
		want  bool
	}{
		"renamed":                  {nil, user.Owner{Cluster: "here", System: "orders", Namespace: "team-a", Name: "alicia"}, true},
		"another cluster":          {nil, user.Owner{Cluster: "there", System: "orders"}, false},
		"the named cluster":        {map[string]string{"from-cluster": "there"}, user.Owner{Cluster: "there", System: "orders"}, true},
		"the default system":       {map[string]string{"from-cluster": "there"}, user.Owner{Cluster: "there"}, false},
		"the named default system": {map[string]string{"from-cluster": "there", "from-system": ""}, user.Owner{Cluster: "there"}, true},
		"not the named system":     {map[string]string{"from-system": "sales"}, user.Owner{Cluster: "here", System: "orders"}, false},
		"another namespace":        {map[string]string{"from-namespace": "team-c"}, user.Owner{Cluster: "here", System: "orders", Namespace: "team-a"}, false},
		"another name":             {map[string]string{"from-name": "bob"}, user.Owner{Cluster: "here", System: "orders", Name: "alicia"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var from formerOwner
			cmd := &cobra.Command{}
			from.bind(cmd)
			for flag, value := range tt.flags {
				if err := cmd.Flags().Set(flag, value); err != nil {
					t.Fatal(err)
				}
			}
			if got := from.matches(tt.owner, to); got != tt.want {
				t.Errorf("an account of %+v is taken: %v, want %v", tt.owner, got, tt.want)
			}
		})
	}
}
