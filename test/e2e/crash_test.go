// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// A subject is a user that the test changes, with the expected state.
type subject struct {
	name      string
	there     bool
	role      v1alpha1.Role
	password  string
	passwords int // count of passwords so far; each may cost one hash
}

// act makes one random change to a user.
func (s *story) act(x *subject) error {
	ctx := s.t.Context()
	meta := metav1.ObjectMeta{Namespace: s.namespace, Name: x.name}
	x.role = v1alpha1.Role(fmt.Sprint("role-", rand.IntN(1000)))
	u := &v1alpha1.ShardingUser{ObjectMeta: meta, Spec: v1alpha1.ShardingUserSpec{Roles: []v1alpha1.Role{x.role}}}
	secret(x.name)(u)
	switch choice := rand.IntN(4); {
	case !x.there:
		if err := s.kube.Create(ctx, u); err != nil {
			if apierrors.IsAlreadyExists(err) { // the last one is not deleted yet
				return nil
			}
			return err
		}
		x.there = true
		x.passwords++
		return nil
	case choice == 0:
		x.there = false
		return s.kube.Delete(ctx, u)
	case choice == 1:
		x.passwords++
		x.password = fmt.Sprint(canary, x.name, x.passwords)
		return s.kube.Update(ctx, &corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"password": []byte(x.password)}})
	}
	return s.kube.Patch(ctx, u, client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"roles":[%q]}}`, x.role)))
}

func TestKilledManagerCompletesWorkAndHashesOncePerPassword(t *testing.T) {
	t.Parallel()
	users, length := orShort(100, 30), time.Duration(orShort(20, 5))*time.Second
	s := newStory(t)
	first := s.start()
	s.eventually(soon, func(g gomega.Gomega) {
		var there bool
		g.Expect(s.db.QueryRow(t.Context(), `SELECT to_regclass('users') IS NOT NULL`).Scan(&there)).To(gomega.Succeed())
		g.Expect(there).To(gomega.BeTrue())
	})
	first.Kill()
	s.sql(`CREATE TABLE hashes_seen (username TEXT, hash TEXT)`)
	s.sql(`CREATE FUNCTION see_hash() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
		INSERT INTO hashes_seen VALUES (NEW.username, NEW.password_hash); RETURN NULL; END $$`)
	s.sql(`CREATE TRIGGER see_new AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION see_hash()`)
	s.sql(`CREATE TRIGGER see_other AFTER UPDATE ON users FOR EACH ROW
		WHEN (OLD.password_hash IS DISTINCT FROM NEW.password_hash) EXECUTE FUNCTION see_hash()`)

	subjects := make([]*subject, users)
	for i := range subjects {
		name := fmt.Sprintf("user-%02d", i)
		subjects[i] = &subject{name: name, password: canary + name}
		s.secret(name, canary+name)
	}
	var acting errgroup.Group
	until := time.Now().Add(length)
	acting.Go(func() error {
		for time.Now().Before(until) {
			if err := s.act(subjects[rand.IntN(users)]); err != nil {
				return err
			}
		}
		return nil
	})
	kills := 0
	for ; time.Now().Before(until); kills++ {
		p := s.launch("--hash-cores=1").begin(t)
		select { // a random time, long enough for some work
		case <-time.After(300*time.Millisecond + rand.N(2*time.Second)):
		case <-p.Ended():
			t.Fatal("the manager exited unexpectedly")
		}
		p.Kill()
	}
	s.Expect(acting.Wait()).To(gomega.Succeed())
	t.Logf("killed %d times", kills)

	last := s.start()
	s.agree(subjects)
	s.Expect(s.hashes(subjects)).To(gomega.BeNumerically(">", users/2), "the managers hashed passwords")
	last.Kill()

	// Once all is stored, another start hashes and writes nothing.
	before := s.everything()
	again := s.start()
	s.readyUser("marker")
	s.eventually(soon, func(g gomega.Gomega) {
		waiting, found := again.metric("workqueue_depth")
		g.Expect(found).To(gomega.BeTrue())
		g.Expect(waiting).To(gomega.BeZero())
		hashes, _ := again.metric("shardinguser_password_hashes_total")
		g.Expect(hashes).To(gomega.BeZero())
		writes, _ := again.metric("shardinguser_status_writes_total")
		g.Expect(writes).To(gomega.BeEquivalentTo(1), "the marker's")
	})
	marker := s.resource("marker")
	s.delete(marker)
	s.gone(soon, marker)
	s.sql(`DELETE FROM shardinguser_ownership WHERE username = 'marker'`)
	s.Expect(s.everything()).To(gomega.Equal(before))
}

// agree waits until rows, resources and passwords agree.
func (s *story) agree(subjects []*subject) {
	s.t.Helper()
	there := 0
	for _, x := range subjects {
		if x.there {
			there++
		}
	}
	s.eventually(90*time.Second, func(g gomega.Gomega) {
		g.Expect(s.users()).To(gomega.HaveLen(there))
		g.Expect(s.countReady()).To(gomega.Equal(there))
		g.Expect(s.rows()).To(gomega.HaveLen(there))
	})
	rows := s.rows()
	var comparing errgroup.Group
	comparing.SetLimit(2)
	for _, x := range subjects {
		if !x.there {
			s.Expect(rows).NotTo(gomega.HaveKey(x.name))
			continue
		}
		s.Expect(rows[x.name].Hash).To(gomega.HavePrefix("$2a$"))
		comparing.Go(func() error {
			if err := bcrypt.CompareHashAndPassword([]byte(rows[x.name].Hash), []byte(x.password)); err != nil {
				return fmt.Errorf("%s: %w", x.name, err)
			}
			return nil
		})
	}
	s.Expect(comparing.Wait()).To(gomega.Succeed())
	for _, u := range s.users() {
		s.Expect(rows[u.Name].Roles).To(gomega.MatchJSON(fmt.Sprintf("[%q]", u.Spec.Roles[0])))
	}
}

// hashes counts the hashes that were ever stored. It expects that no user had more hashes than passwords.
func (s *story) hashes(subjects []*subject) int {
	s.t.Helper()
	total := 0
	for _, x := range subjects {
		var n int
		s.Expect(s.db.QueryRow(s.t.Context(), `SELECT count(*) FROM hashes_seen WHERE username = $1 AND hash LIKE '$2%'`, x.name).
			Scan(&n)).To(gomega.Succeed())
		s.Expect(n).To(gomega.BeNumerically("<=", x.passwords), "%s was hashed more often than it had passwords", x.name)
		total += n
	}
	return total
}
