// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"sync"
	"testing"

	"github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/login"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres"
)

// The rows that the sharding manager inserts into an empty table, one after the other.
var managersRows = map[string]string{
	"admin":    "$2a$10$LtlhX7.r1Rf9Fl7XjR9VKeaZvwU7PJK6tlWF5rXdxe1fg55wurAnW",
	"operator": "$2a$10$oDZulSnupJh0OdVrJImYNO/HrxjmUx8QA.ICMSA/Pdskkdwd68.bu",
	"viewer":   "$2a$10$QyJBIVEeUVYYYdRELwpeLe7E5y2vvDIWdIMlIoXOjQCYWj2ozssDG",
}

// managerInserts is the sharding manager's insertion of default accounts, of all three where none is named. It overwrites a row
// that it did not see when it began.
func (s *story) managerInserts(names ...string) {
	s.t.Helper()
	if len(names) == 0 {
		names = defaultNames
	}
	for _, name := range names {
		s.sql(`INSERT INTO users (username, password_hash, roles, active) VALUES ($1::text, $2, jsonb_build_array($1::text), true)
			ON CONFLICT (username) DO UPDATE SET password_hash = EXCLUDED.password_hash, roles = EXCLUDED.roles, active = EXCLUDED.active`,
			name, managersRows[name])
	}
}

// takingOver is leading, with the setting that lets the default users take rows over.
func (s *story) takingOver() *leading {
	s.t.Helper()
	l := s.leading()
	l.options.Beginning = l.store.(*postgres.Store).Beginning
	return l
}

// noDefaultPassword checks that the default users own their rows, and that none of the default passwords matches there.
func (s *story) noDefaultPassword() {
	s.t.Helper()
	for _, name := range defaultNames {
		u := s.defaultUser(name)
		s.Expect(u.Annotations).NotTo(gomega.HaveKey(incomplete))
		s.Expect(meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionWeakPassword)).To(gomega.BeNil())
		s.Expect(s.row(name).isOf(name + "123")).To(gomega.BeFalse())
	}
}

func TestDefaultUsersTakeOverWhatTheManagerInserted(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.table()
	s.managerInserts()
	s.sql("UPDATE users SET last_login_at = now(), failed_login_attempts = 5, locked_until = now() + interval '15 minutes' WHERE username = 'admin'")
	op := s.start()
	s.eventually(func(g gomega.Gomega) { g.Expect(op.database.Health().DefaultPasswords.Count).To(gomega.Equal(3)) })

	log := s.takingOver().run(s)
	s.Expect(log).To(gomega.ContainSubstring("adopt the accounts of the sharding manager"))
	s.noDefaultPassword()
	s.Expect(s.row("admin").LockedUntil).To(gomega.BeNil())

	side := s.newReplica(s.attempts())
	for _, name := range defaultNames {
		s.Expect(side.try(t, name, name+"123")).To(gomega.Equal(login.Failed))
		s.Expect(side.try(t, name, s.passwords()[name+"-password"])).To(gomega.Equal(login.Succeeded))
		s.Expect(s.events(s, name)).NotTo(gomega.HaveKey(v1alpha1.ReasonRowExists))
	}
}

func TestOnlyUntouchedAccountsAreTakenOver(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		edit string
		says string
	}{
		"one has another password":      {"UPDATE users SET password_hash = '" + aHash + "' WHERE username = 'viewer'", `the row of username \"viewer\" differs from`},
		"one has another role":          {`UPDATE users SET roles = '["viewer", "admin"]' WHERE username = 'viewer'`, `the row of username \"viewer\" differs from`},
		"one was deactivated":           {"UPDATE users SET active = false WHERE username = 'admin'", `the row of username \"admin\" differs from`},
		"there is another account":      {"INSERT INTO users (username, password_hash) VALUES ('bob', '!')", "the table users contains accounts other than"},
		"an operator was there already": {"SELECT nextval('shardinguser_ownership_revision_seq')", "an operator used the database before"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := begin(t)
			s.managerInserts()
			s.sql(tt.edit)
			log := s.takingOver().run(s)
			s.Expect(log).To(gomega.And(gomega.ContainSubstring("No default users are created"), gomega.ContainSubstring(tt.says)))
			s.Expect(s.users()).To(gomega.BeEmpty())
			s.Expect(s.passwords()).To(gomega.BeEmpty())
			s.Expect(s.row("operator").Hash).To(gomega.Equal(managersRows["operator"]))
		})
	}
}

func TestWithoutTheSettingNothingIsTakenOver(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	s.managerInserts()
	s.Expect(s.leading().run(s)).To(gomega.ContainSubstring("the database was used before"))
	s.Expect(s.users()).To(gomega.BeEmpty())
}

// The sharding manager looks whether the table is empty, and inserts one row after the other. The operator may look, and write,
// at any moment between.
func TestTheManagerInsertsWhileTheOperatorStarts(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		before   string // what is to be created next
		inserted []string
	}{
		"all before the Secrets":                    {"admin-password", defaultNames},
		"the first before the users":                {"admin", []string{"admin"}},
		"all after the first user":                  {"operator", defaultNames},
		"the last two after the first user":         {"operator", []string{"operator", "viewer"}},
		"all after the second user, over two of us": {"viewer", defaultNames},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := begin(t)
			l := s.takingOver()
			insert := sync.OnceFunc(func() { s.managerInserts(tt.inserted...) })
			l.kube = s.intercepted(interceptor.Funcs{
				Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
					if o.GetName() == tt.before {
						insert()
					}
					return c.Create(ctx, o, options...)
				},
			})
			l.run(s)
			s.noDefaultPassword()
		})
	}
}

func TestTakingOverWaitsUntilTheManagerInsertedAll(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	s.managerInserts("admin")
	l := s.takingOver()
	looks := 0
	beginning, insertOthers := l.options.Beginning, sync.OnceFunc(func() { s.managerInserts("operator", "viewer") })
	l.options.Beginning = func(ctx context.Context, limit int) (b store.Beginning, err error) {
		if looks++; looks > 1 {
			insertOthers()
		}
		return beginning(ctx, limit)
	}
	log := l.run(s)
	s.Expect(log).To(gomega.ContainSubstring("contains only admin of the default accounts"))
	s.noDefaultPassword()
}

func TestTheNextLeaderGoesOnTakingOver(t *testing.T) {
	t.Parallel()
	for writes, next := range map[int]string{3: "admin", 4: "operator", 6: "the last word"} {
		t.Run("killed before "+next, func(t *testing.T) {
			t.Parallel()
			s, _ := begin(t)
			s.managerInserts()
			s.takingOver().killedAfter(s, writes)
			s.takingOver().run(s)
			s.noDefaultPassword()
		})
	}
}

func TestUserThatNoPolicyPermitsDelaysNoOther(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	s.managerInserts()
	l := s.takingOver()
	l.kube = s.intercepted(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			if u, ok := o.(*v1alpha1.ShardingUser); ok && u.Name == "viewer" {
				u.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"}
			}
			return c.Create(ctx, o, options...)
		},
	})
	l.run(s)
	s.defaultUser("admin")
	s.defaultUser("operator")
	s.Expect(s.row("viewer").Hash).To(gomega.Equal(managersRows["viewer"]))
}

func TestUserOfAnotherOwnerIsNotMadeToTakeOver(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	l := s.takingOver()
	theirs := sync.OnceFunc(func() {
		s.managerInserts("viewer")
		s.reports(s.user("viewer"), v1alpha1.ReasonRowExists)
	})
	l.kube = s.intercepted(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			if _, ok := o.(*v1alpha1.ShardingUser); ok && o.GetName() == "viewer" {
				theirs()
			}
			return c.Create(ctx, o, options...)
		},
	})
	l.run(s)
	s.defaultUser("admin")
	s.Expect(s.row("viewer").Hash).To(gomega.Equal(managersRows["viewer"]))
}

func TestDefaultHashOfAnAdoptedAccountIsReported(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	s.managerInserts("admin", "viewer")

	adopted := s.readyUser("admin", roles("admin"), adopt(v1alpha1.AdoptionIfUnowned))
	c := s.condition(adopted, v1alpha1.ConditionWeakPassword, v1alpha1.ReasonWellKnown)
	s.Expect(c.Message).To(gomega.ContainSubstring("change the password in the sharding manager"))
	s.sql("UPDATE users SET password_hash = $1 WHERE username = 'admin'", aHash)
	s.notWeak(adopted)
	s.managerInserts("admin")
	s.condition(adopted, v1alpha1.ConditionWeakPassword, v1alpha1.ReasonWellKnown)

	secret := s.secret("viewer", "password", managersRows["viewer"])
	hashed := s.readyUser("viewer", roles("viewer"), adopt(v1alpha1.AdoptionIfUnowned), hashedSecret("viewer"))
	s.condition(hashed, v1alpha1.ConditionWeakPassword, v1alpha1.ReasonWellKnown)
	s.Expect(s.row("viewer").Hash).To(gomega.Equal(managersRows["viewer"]))
	s.put(secret, "password", aHash)
	s.notWeak(hashed)
}

// notWeak waits until the condition WeakPassword is gone.
func (s *story) notWeak(u *v1alpha1.ShardingUser) {
	s.t.Helper()
	s.eventually(func(g gomega.Gomega) {
		s.refresh(u)
		g.Expect(meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionWeakPassword)).To(gomega.BeNil())
	})
}

func TestDefaultPasswordsArePublished(t *testing.T) {
	t.Parallel()
	s := searching(t)
	s.table()
	s.managerInserts()
	s.start()
	s.eventually(func(g gomega.Gomega) {
		g.Expect(s.published()).NotTo(gomega.BeNil())
		g.Expect(s.published().DefaultPasswords).To(gomega.Equal(defaultNames))
	})
}
