// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/secrets"
)

// A manyKeys is a Secret with a key for each of many users, and counts how often the operator reads it.
type manyKeys struct {
	*story
	secret *corev1.Secret
	users  int
	gets   atomic.Int64
}

func newManyKeys(t *testing.T) *manyKeys {
	t.Helper()
	m := &manyKeys{story: newStory(t), users: crowd() / 2}
	if !testing.Short() {
		m.users = crowd()
	}
	m.settings = append(m.settings, wholePool)
	m.digestKey = "digest-key"
	m.reach = func(config *rest.Config) {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/secrets/many") {
					m.gets.Add(1)
				}
				return next.RoundTrip(r)
			})
		})
	}
	m.story.secret(m.digestKey)
	pairs := make([]string, 0, 2*m.users)
	for i := range m.users {
		pairs = append(pairs, m.name(i), m.password(i))
	}
	m.secret = m.story.secret("many", pairs...)
	return m
}

func (m *manyKeys) name(i int) string     { return fmt.Sprintf("many-%d", i) }
func (m *manyKeys) password(i int) string { return fmt.Sprintf("%s of user %d", canary, i) }

// create creates the users and waits until their passwords are in their rows.
func (m *manyKeys) create() {
	m.t.Helper()
	m.newUsers("many", m.users, func(u *v1alpha1.ShardingUser) { secretRef("many", u.Name)(u) })
	m.applied()
}

// applied waits until the ownership record of each user names the Secret's version.
func (m *manyKeys) applied() {
	m.t.Helper()
	m.Eventually(m.appliedUsers).WithTimeout(3 * time.Minute).WithPolling(poll).Should(gomega.Equal(m.users))
}

func (m *manyKeys) appliedUsers() (n int) {
	m.t.Helper()
	m.Expect(m.db.QueryRow(m.t.Context(), `SELECT count(*) FROM shardinguser_ownership WHERE split_part(password_version, '/', 2) = $1`,
		m.secret.ResourceVersion).Scan(&n)).To(gomega.Succeed())
	return n
}

// hashes is all hashes of the rows except one user's, as one text.
func (m *manyKeys) hashes(except int) (all string) {
	m.t.Helper()
	m.Expect(m.db.QueryRow(m.t.Context(), `SELECT string_agg(password_hash, ' ' ORDER BY username) FROM users WHERE username <> $1`,
		m.name(except)).Scan(&all)).To(gomega.Succeed())
	return all
}

// change changes one user's key and waits until the row has the new password. It returns how long that took, and how many
// other users were handled before.
func (m *manyKeys) change(i int, value string) (took time.Duration, before int) {
	m.t.Helper()
	from := time.Now()
	m.put(m.secret, m.name(i), value)
	m.Eventually(func() bool { return m.row(m.name(i)).isOf(value) }).WithTimeout(time.Minute).WithPolling(10 * time.Millisecond).
		Should(gomega.BeTrue())
	return time.Since(from), m.appliedUsers()
}

func TestOneOfManyKeysChanges(t *testing.T) {
	t.Parallel()
	m := newManyKeys(t)
	op := m.start()
	m.create()
	changed := m.users / 2
	before := m.hashes(changed)
	m.Expect(m.gets.Load()).To(gomega.BeNumerically("<=", 10), "one read serves many users")

	// After a restart, no password is remembered.
	op.stop()
	seen := m.watchAccounts()
	op = m.start()
	m.lookedAt(seen, m.users)
	m.wrap = nil
	m.gets.Store(0)
	took, others := m.change(changed, canary+" another")
	t.Logf("the changed key of %d was in its row after %v, before which %d users were handled", m.users, took, others)
	m.Expect(others).To(gomega.BeNumerically("<", m.users/2), "it does not wait for what is recorded about the others")
	m.applied()
	m.Expect(op.hasher.Computed()).To(gomega.BeEquivalentTo(1))
	m.Expect(op.hasher.Compared()).To(gomega.BeEquivalentTo(1), "only the changed value")
	m.Expect(m.hashes(changed)).To(gomega.Equal(before))
	m.Expect(m.gets.Load()).To(gomega.BeNumerically("<=", 3), "one read serves all users")

	// While it is stopped, the Secret gets a label.
	op.stop()
	m.label(m.secret, "stopped")
	op = m.start()
	from := time.Now()
	m.applied()
	t.Logf("after a restart and a label: %v", time.Since(from))
	m.Expect(op.hasher.Computed() + op.hasher.Compared()).To(gomega.BeZero())
	from = time.Now()
	m.label(m.secret, "running")
	m.applied()
	t.Logf("after a label: %v", time.Since(from))
	m.Expect(op.hasher.Computed() + op.hasher.Compared()).To(gomega.BeZero())
	m.Expect(m.hashes(changed)).To(gomega.Equal(before))

	// The password before, which nothing in the row is of.
	m.change(changed, m.password(changed))
	m.applied()
	m.Expect(op.hasher.Computed()).To(gomega.BeEquivalentTo(1))
	m.Expect(op.hasher.Compared()).To(gomega.BeZero(), "the digest showed which password was in force")
	m.Expect(m.hashes(changed)).To(gomega.Equal(before))
}

// digests are those under the key in a Secret of the story; nil if it has none.
func (s *story) digests(reader client.Reader, writer client.Writer) *secrets.Digests {
	if s.digestKey == "" {
		return nil
	}
	return secrets.NewDigests(reader, writer, client.ObjectKey{Namespace: s.namespace, Name: s.digestKey}, time.Now)
}
