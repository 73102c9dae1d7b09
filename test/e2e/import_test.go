// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// theirs creates the table as the sharding manager does, with this many rows of all kinds. Of a hundred rows, five have a hash
// that the operator cannot use. Of ten rows, five have a username that is no valid resource name.
func (s *story) theirs(rows int) {
	s.t.Helper()
	s.sql(`CREATE TABLE users (username VARCHAR(255) PRIMARY KEY, password_hash VARCHAR(255), roles JSONB NOT NULL DEFAULT '[]'::jsonb,
		active BOOLEAN NOT NULL DEFAULT true, created_at TIMESTAMPTZ NOT NULL DEFAULT now(), updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
		last_login_at TIMESTAMPTZ, failed_login_attempts INTEGER NOT NULL DEFAULT 0, locked_until TIMESTAMPTZ, email TEXT)`)
	s.sql(`INSERT INTO users (username, password_hash, roles, active, last_login_at, failed_login_attempts, locked_until, email)
		SELECT CASE i % 10 WHEN 0 THEN 'User' || i || '@Example.com' WHEN 1 THEN 'user_' || i WHEN 2 THEN 'user' || i || '+tag@example.org'
			WHEN 3 THEN 'MIXED.Case.' || i WHEN 4 THEN 'ends-with-' || i || '-' WHEN 5 THEN 'dots.are.fine.' || i ELSE 'user-' || i END,
		CASE i % 100 WHEN 7 THEN NULL WHEN 17 THEN '!' WHEN 27 THEN '{SHA}nothing' WHEN 37 THEN '$2x$10$' || body WHEN 47 THEN '$2a$08$' || body
			ELSE (ARRAY['$2a$10$', '$2b$12$', '$2y$14$'])[1 + i % 3] || body END,
		(ARRAY['[]', '["viewer"]', '["operator", "viewer"]', '["viewer", "viewer", "team:b"]'])[1 + i % 4]::jsonb,
		i % 9 <> 0, CASE WHEN i % 2 = 0 THEN now() - i * interval '1 minute' END, i % 6,
		CASE i % 6 WHEN 5 THEN now() + interval '1 day' + i * interval '1 second' WHEN 4 THEN now() - interval '1 day' END,
		'somebody@example.com'
		FROM (SELECT i, substr(md5(i::text) || md5('x' || i), 1, 53) AS body FROM generate_series(1, $1) AS i) AS made`, rows)
	s.sql(`GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON users TO ` + s.role)
}

// state returns the rows as the sharding system's programs read them, without updated_at. Hashes of inactive
// rows are as they would be in active rows.
func (s *story) state() map[string]string {
	s.t.Helper()
	found, err := s.db.Query(s.t.Context(), `SELECT username, concat_ws('|',
		coalesce(CASE WHEN NOT active THEN regexp_replace(password_hash, '^!(2[a-z])', '$\1') ELSE password_hash END, 'NULL'), active, created_at,
		coalesce(last_login_at::text, 'NULL'), failed_login_attempts, coalesce(locked_until::text, 'NULL'), email,
		(SELECT string_agg(DISTINCT role, ',' ORDER BY role) FROM jsonb_array_elements_text(roles) AS role)) AS state FROM users`)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	all := map[string]string{}
	var username, state string
	_, err = pgx.ForEachRow(found, []any{&username, &state}, func() error { all[username] = state; return nil })
	s.Expect(err).NotTo(gomega.HaveOccurred())
	return all
}

// An importReport is the machine-readable report of import.
type importReport struct {
	Rows, Users, Secrets int
	Changes              []struct{ Action, Object string }
	Remarks              []struct{ Username, Kind, Message string }
}

func (r importReport) kinds() map[string]int {
	kinds := map[string]int{}
	for _, remark := range r.Remarks {
		kinds[remark.Kind]++
	}
	return kinds
}

// imports runs import, and returns its exit code and its report.
func (sh *shell) imports(args ...string) (code int, report importReport) {
	sh.s.t.Helper()
	got := sh.plugin(append([]string{"import", "--dsn-file=dsn.txt", "-o=json"}, args...)...)
	sh.s.Expect(json.Unmarshal([]byte(got.out), &report)).To(gomega.Succeed(), got.out+got.errOut)
	return got.code, report
}

// files returns the contents of the files in a folder, by path.
func (sh *shell) files(folder string) map[string][]byte {
	sh.s.t.Helper()
	all := map[string][]byte{}
	tree := os.DirFS(filepath.Join(sh.folder, folder))
	err := fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		all[path], err = fs.ReadFile(tree, path)
		return err
	})
	sh.s.Expect(err).NotTo(gomega.HaveOccurred())
	return all
}

func TestImportOfTenThousandRowsWritesValidManifests(t *testing.T) {
	t.Parallel()
	rows := orShort(10_000, 400)
	s := newStory(t)
	s.theirs(rows)
	s.sql(`INSERT INTO users (username, roles) VALUES ('has space', '[]'), ('мария', '[]'), ('_leading', '[]'), ('', '[]'),
		('bad-role', '["not one"]'), ('no-list', '{"admin": true}')`)
	sh := s.newShell()

	code, report := sh.imports("--directory=accounts", "--dry-run")
	s.Expect(code).To(gomega.Equal(3), "import would skip rows")
	s.Expect(report.Changes).To(gomega.HaveLen(rows + rows*95/100))
	_, err := os.Stat(filepath.Join(sh.folder, "accounts"))
	s.Expect(os.IsNotExist(err)).To(gomega.BeTrue())

	began := time.Now()
	code, report = sh.imports("--directory=accounts")
	t.Logf("import of %d rows into files took %v", rows, time.Since(began).Round(time.Millisecond))
	s.Expect(code).To(gomega.Equal(3))
	s.Expect(report.Rows).To(gomega.Equal(rows + 6))
	s.Expect(report.Users).To(gomega.Equal(rows))
	s.Expect(report.Secrets).To(gomega.Equal(rows * 95 / 100))
	s.Expect(report.kinds()).To(gomega.Equal(map[string]int{"LeftOut": 6, "WithoutPassword": rows * 5 / 100}))
	files := sh.files("accounts")
	s.Expect(files).To(gomega.HaveLen(rows + rows*95/100))

	// A second import changes nothing in the cluster or the table.
	began = time.Now()
	code, report = sh.imports("--directory=accounts")
	t.Logf("the second import took %v", time.Since(began).Round(time.Millisecond))
	s.Expect(code).To(gomega.Equal(3))
	s.Expect(report.Changes).To(gomega.BeEmpty())
	code, report = sh.imports("--directory=accounts", "--dry-run")
	s.Expect(code).To(gomega.Equal(3))
	s.Expect(report.Changes).To(gomega.BeEmpty(), "the second import changes nothing")
	_, _ = sh.imports("--directory=elsewhere")
	s.Expect(sh.files("elsewhere")).To(gomega.Equal(files))

	s.accepts(files)
}

// accepts sends all manifests to the API server as a dry run.
func (s *story) accepts(files map[string][]byte) {
	s.t.Helper()
	kube := client.NewDryRunClient(client.WithFieldValidation(s.kube, metav1.FieldValidationStrict))
	usernames := map[string]bool{}
	var asking errgroup.Group
	asking.SetLimit(16)
	began := time.Now()
	for name, content := range files {
		o := &unstructured.Unstructured{}
		s.Expect(yaml.UnmarshalStrict(bytes.TrimPrefix(content, []byte("---\n")), &o.Object)).To(gomega.Succeed())
		o.SetNamespace(s.namespace)
		if o.GetKind() == "ShardingUser" {
			username, _, _ := unstructured.NestedString(o.Object, "spec", "username")
			if username == "" {
				username = o.GetName()
			}
			s.Expect(usernames[username]).To(gomega.BeFalse(), "%s is there twice", username)
			usernames[username] = true
		}
		asking.Go(func() error {
			if err := kube.Create(s.t.Context(), o); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	s.Expect(asking.Wait()).To(gomega.Succeed())
	s.t.Logf("the API server validated %d manifests in %v", len(files), time.Since(began).Round(time.Millisecond))
}

// The operator adopts the imported rows without a visible change for the programs of the sharding system.
func TestImportedUsersKeepPasswordsLocksAndCounters(t *testing.T) {
	t.Parallel()
	rows := orShort(1000, 200)
	s := newStory(t)
	s.theirs(rows)
	before := s.state()
	sh := s.newShell()

	code, report := sh.imports("--dry-run")
	s.Expect(code).To(gomega.Equal(1))
	s.Expect(report.Changes).To(gomega.HaveLen(rows + rows*95/100))
	s.Expect(s.users()).To(gomega.BeEmpty())

	began := time.Now()
	code, report = sh.imports("--apply")
	t.Logf("import of %d rows into the cluster took %v", rows, time.Since(began).Round(time.Millisecond))
	s.Expect(code).To(gomega.BeZero())
	s.Expect(report.Changes).To(gomega.HaveLen(rows + rows*95/100))

	// A second import sends nothing, before and after the operator adopts the rows.
	versions := s.versions()
	s.Expect(versions).To(gomega.HaveLen(rows))
	code, report = sh.imports("--apply")
	s.Expect(code).To(gomega.BeZero())
	s.Expect(report.Changes).To(gomega.BeEmpty())
	s.Expect(s.versions()).To(gomega.Equal(versions))

	began = time.Now()
	s.start()
	s.eventually(3*time.Minute, func(g gomega.Gomega) { g.Expect(s.countReady()).To(gomega.Equal(rows)) })
	t.Logf("the operator adopted %d rows in %v, its start included", rows, time.Since(began).Round(time.Millisecond))
	s.Expect(s.state()).To(gomega.Equal(before), "only updated_at may change")

	code, report = sh.imports("--dry-run")
	s.Expect(code).To(gomega.BeZero())
	s.Expect(report.kinds()).To(gomega.Equal(map[string]int{"Owned": rows}))
	code, report = sh.imports("--dry-run", "--include-owned")
	s.Expect(code).To(gomega.BeZero(), "%v", report.Changes)
	s.Expect(report.Users).To(gomega.Equal(rows))

	// Locks are kept, and the statuses report them.
	var locked int
	s.Expect(s.db.QueryRow(t.Context(), `SELECT count(*) FROM users WHERE locked_until > now()`).Scan(&locked)).To(gomega.Succeed())
	s.Expect(locked).To(gomega.BeNumerically(">", rows/10))
	s.eventually(2*time.Minute, func(g gomega.Gomega) {
		g.Expect(strings.Count(sh.done("list", "--locked", "-o", "name"), "\n")).To(gomega.Equal(locked))
	})
}

// versions returns the resource versions of the story's users, by name.
func (s *story) versions() map[string]string {
	s.t.Helper()
	versions := map[string]string{}
	for _, u := range s.users() {
		versions[u.Name] = u.ResourceVersion
	}
	return versions
}

func TestImportReportsConflicts(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.theirs(3)
	sh := s.newShell()

	// The standard output has only manifests. They contain hashes on request.
	got := sh.run("", "kubectl", "shardinguser", "import", "--dsn-file=dsn.txt")
	s.Expect(got.code).To(gomega.BeZero())
	s.Expect(strings.Count(got.out, "\n  password: JDJ")).To(gomega.Equal(3))
	s.Expect(aHashIsIn(got.errOut)).To(gomega.BeFalse())
	applied, err := plane.Apply(t.Context(), got.out, "--namespace="+s.namespace, "--dry-run=server")
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.Expect(strings.Count(applied, "shardinguser.sharding.io/")).To(gomega.Equal(3))
	s.Expect(sh.done("import", "--dsn-file=dsn.txt", "--secrets=skip", "-o", "json")).NotTo(gomega.ContainSubstring(`"Secret"`))

	// Import does not change a resource that another user applied.
	taken := s.user("mixed-case-3-x8fc42d2313", username("somebody-else"))
	code, report := sh.imports("--apply")
	for _, u := range s.users() {
		if u.Spec.Username == "MIXED.Case.3" {
			t.Fatalf("its name is now %s: correct it above", u.Name)
		}
	}
	s.Expect(code).To(gomega.Equal(1))
	s.Expect(report.Remarks).To(gomega.HaveLen(1))
	s.Expect(report.Remarks[0].Message).To(gomega.ContainSubstring("somebody-else"))
	s.Expect(s.kube.Get(t.Context(), key(taken), taken)).To(gomega.Succeed())
	s.Expect(taken.Spec.AdoptionPolicy).To(gomega.Equal(v1alpha1.AdoptionNever))
	s.Expect(s.users()).To(gomega.HaveLen(3))

	// Import keeps and reports what another manager set: a field, or the list of roles.
	var fields, addition v1alpha1.ShardingUser
	for _, u := range s.users() {
		switch u.Spec.Username {
		case "user_1":
			s.edit(&u, func(u *v1alpha1.ShardingUser) { u.Spec.Active = new(false) })
			fields = u
		case "user2+tag@example.org":
			s.edit(&u, roles("operator", "viewer", "admin"))
			addition = u
		}
	}
	versions := s.versions()
	for range 2 {
		code, report = sh.imports("--apply")
		s.Expect(code).To(gomega.Equal(1))
		s.Expect(report.Changes).To(gomega.BeEmpty())
		s.Expect(report.Remarks).To(gomega.ContainElements(
			gomega.And(gomega.HaveField("Username", fields.Spec.Username), gomega.HaveField("Message", gomega.ContainSubstring(".spec.active"))),
			gomega.And(gomega.HaveField("Username", addition.Spec.Username), gomega.HaveField("Message", gomega.ContainSubstring(".spec.roles"))),
		))
	}
	s.Expect(s.versions()).To(gomega.Equal(versions))

	// If rows are not readable, the error names the grant.
	s.sql(`REVOKE SELECT ON users FROM ` + s.role)
	refused := sh.plugin("import", "--dsn-file=dsn.txt")
	s.Expect(refused.code).To(gomega.Equal(2))
	s.Expect(refused.errOut).To(gomega.ContainSubstring("GRANT"))
}

// A user with a generated password or a Secret of its own gets no second Secret.
func TestImportWritesNoUnusedSecret(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.theirs(0)
	s.sql(`INSERT INTO users (username, password_hash) VALUES ('alice', $1), ('bob', $1)`, aHash)
	sh := s.newShell()
	asImported := func(u *v1alpha1.ShardingUser) {
		u.Spec.AdoptionPolicy, u.Spec.DeletionPolicy = v1alpha1.AdoptionIfUnowned, v1alpha1.DeletionRetain
	}
	alice := s.user("alice", secret("alice-login"), generated, maxAge(2160*time.Hour), asImported)
	s.user("bob", secret("elsewhere"), asImported)
	versions := s.versions()
	code, report := sh.imports("--apply")
	s.Expect(code).To(gomega.Equal(1))
	s.Expect(report.Changes).To(gomega.BeEmpty())
	s.Expect(report.kinds()).To(gomega.Equal(map[string]int{"Generated": 1, "NotApplied": 1}), "%v", report.Remarks)
	s.Expect(s.versions()).To(gomega.Equal(versions))
	var secrets corev1.SecretList
	s.Expect(s.kube.List(t.Context(), &secrets, client.InNamespace(s.namespace))).To(gomega.Succeed())
	s.Expect(secrets.Items).To(gomega.BeEmpty())

	// Import applies the other fields of such a user, beside the generated password.
	s.Expect(s.kube.Delete(t.Context(), alice)).To(gomega.Succeed())
	_, err := plane.Apply(t.Context(), `{"apiVersion": "sharding.io/v1alpha1", "kind": "ShardingUser", "metadata": {"name": "alice"},
		"spec": {"password": {"secretRef": {"name": "alice-login"}, "generate": {}, "maxAge": "2160h"}}}`,
		"--namespace="+s.namespace, "--server-side")
	s.Expect(err).NotTo(gomega.HaveOccurred())
	_, report = sh.imports("--apply")
	s.Expect(report.Changes).To(gomega.HaveLen(1), "%v", report.Remarks)
	s.Expect(s.kube.Get(t.Context(), key(alice), alice)).To(gomega.Succeed())
	s.Expect(alice.Spec.AdoptionPolicy).To(gomega.Equal(v1alpha1.AdoptionIfUnowned))
	s.Expect(alice.Spec.Password.Generate).NotTo(gomega.BeNil())
	s.Expect(alice.Spec.Password.MaxAge.Duration).To(gomega.Equal(2160 * time.Hour))
	s.Expect(alice.Spec.Password.SecretRef.Name).To(gomega.Equal("alice-login"))
}
