// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

const policiesPath = "/apis/sharding.io/v1alpha1/shardinguserpolicies"

func TestPoliciesAreRejectedOrDecide(t *testing.T) {
	cases := append(byHand[policy](t, "policies"), generatedPolicies()...)
	var deciding []policy
	var others []policy
	for _, c := range cases {
		if c.Users != nil {
			deciding = append(deciding, c)
		} else {
			others = append(others, c)
		}
	}
	each(others, func(c policy) {
		body, contentType := c.body(t, "a-policy", "default")
		status, answer := ask(t, http.MethodPost, policiesPath, contentType, body, "dryRun=All")
		checkAnswer(t, c.Name, c.Refused, status, answer)
	})
	decide(t, deciding)
}

func (p policy) body(t *testing.T, name, namespace string) (body, contentType string) {
	t.Helper()
	e := with(t, map[string]string{"name": name, "namespace": namespace})
	if p.Body != "" {
		return e.text(p.Body), "application/yaml"
	}
	resource := map[string]any{
		"apiVersion": "sharding.io/v1alpha1", "kind": "ShardingUserPolicy", "metadata": map[string]any{"name": name},
	}
	if p.Spec != nil {
		resource["spec"] = e.value(p.Spec)
	}
	return encoded(t, resource), "application/json"
}

// decide stores policies, each for its own namespace, and compares the outcomes of the users there. No other users
// exist at that time, because the policies would apply to them too.
func decide(t *testing.T, cases []policy) {
	t.Helper()
	before := metrics(t)
	var all []*sent
	for i, c := range cases {
		name, namespace := fmt.Sprintf("policy-%d", i), newNamespace(t)
		t.Cleanup(func() { // before which the users go
			p := &v1alpha1.ShardingUserPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
			if err := kube.Delete(context.WithoutCancel(t.Context()), p); client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
		})
		body, contentType := c.body(t, name, namespace)
		status, answer := ask(t, http.MethodPost, policiesPath, contentType, body)
		checkAnswer(t, c.Name, "", status, answer)
		all = append(all, c.users(namespace, i)...)
	}
	defer clearUsers(t, metav1.NamespaceAll)
	g := gomega.NewWithT(t)
	g.Eventually(func() (missing []string) {
		var list v1alpha1.ShardingUserPolicyList
		g.Expect(kube.List(t.Context(), &list)).To(gomega.Succeed())
		for _, p := range list.Items {
			if !meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionReady) {
				missing = append(missing, p.Name)
			}
		}
		return missing
	}).WithTimeout(soon).WithPolling(poll).Should(gomega.BeEmpty(), "policies that nothing is decided by")
	settle(t, all)
	quietens(t, before, len(all)+len(cases))
}

// users returns the users that the policy with this number decides about.
func (p policy) users(namespace string, number int) (list []*sent) {
	for i, u := range p.Users {
		m := manifest{
			Name: fmt.Sprintf("%s, user %d", p.Name, i+1), Spec: u.Spec, Reason: u.Reason, Message: u.Message, Row: u.Row,
			Secret: map[string]string{"password": "<<password>>"}, Username: u.Username,
		}
		if m.Row == "" && m.Reason == v1alpha1.ReasonNotPermitted {
			m.Row = "none"
		}
		list = append(list, &sent{manifest: m, namespace: namespace, called: fmt.Sprintf("p-%d-%d", number, i)})
	}
	return list
}
