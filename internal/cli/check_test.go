// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

func TestASystemIsServedByTheOperatorThatRenewsItsLease(t *testing.T) {
	in := func(namespace string, l *coordinationv1.Lease) coordinationv1.Lease {
		l.Namespace = namespace
		return *l
	}
	live, dead := func() *coordinationv1.Lease { return lease("pod-1", now.Add(-time.Second)) }, lease("pod-1", now.Add(-time.Hour))
	for name, tt := range map[string]struct {
		system systemUsers
		leases []coordinationv1.Lease
		err    error
		level  level
		says   string
	}{
		"one operator":             {systemUsers{"orders", 2}, []coordinationv1.Lease{in("a", live())}, nil, fine, `The system "orders" has 2 users. Its operator is pod-1 in the namespace a.`},
		"the default system":       {systemUsers{"", 1}, []coordinationv1.Lease{in("a", live())}, nil, fine, "The default system has 1 user. "},
		"no lease":                 {systemUsers{"orders", 2}, nil, nil, wrong, "no namespace has the lease orders.shardinguser-operator.sharding.io"},
		"a lease of former times":  {systemUsers{"orders", 2}, []coordinationv1.Lease{in("a", dead)}, nil, wrong, "no replica renews the lease orders.shardinguser-operator.sharding.io in the namespace a"},
		"a lease without a holder": {systemUsers{"", 2}, []coordinationv1.Lease{in("a", lease("", now))}, nil, wrong, "no replica renews"},
		"another one that is dead": {systemUsers{"", 2}, []coordinationv1.Lease{in("a", dead), in("b", live())}, nil, fine, "pod-1 in the namespace b"},
		"two operators":            {systemUsers{"", 2}, []coordinationv1.Lease{in("b", live()), in("a", live())}, nil, note, "pod-1 in the namespace a, pod-1 in the namespace b"},
		"no right to look":         {systemUsers{"", 2}, nil, errors.New("forbidden"), unknown, "forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			got := checkSystem(tt.system, seen[[]coordinationv1.Lease]{it: &tt.leases, err: tt.err}, now)
			if got.Level != tt.level || !strings.Contains(got.Message, tt.says) || (got.Level == fine) == (got.Advice != "") {
				t.Errorf("the result is %+v, want %s: %s", got, tt.level, tt.says)
			}
		})
	}
}

func TestTheTableHasAColumnForSystemsIfThereIsOne(t *testing.T) {
	named := *aUser(func(u *v1alpha1.ShardingUser) { u.Spec.System = "orders" })
	header, rows := columns([]v1alpha1.ShardingUser{*aUser(), named}, now, true, true)
	if header[3] != "SYSTEM" || rows[0][3] != "" || rows[1][3] != "orders" || len(header) != len(rows[0]) {
		t.Errorf("the table has the columns %v and the rows %v", header, rows)
	}
	if got := systems([]v1alpha1.ShardingUser{named, *aUser(), named}); len(got) != 2 || got[0] != "" || got[1] != "orders" {
		t.Errorf("the users are of the systems %q", got)
	}
	if got := systems(nil); len(got) != 1 || got[0] != "" {
		t.Errorf("without users the systems are %q, want the default one", got)
	}
}
