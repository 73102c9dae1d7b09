// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

func TestTheSQLOfTheDocumentationIsUnderstood(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	charge(t, s, "alice")
	var text []byte
	for _, page := range []string{"audit.md", "lockouts.md", "monitoring.md", "security.md"} {
		part, err := os.ReadFile("../../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, part...)
	}
	pool := connect(t, dsn)
	statements := 0
	for _, block := range regexp.MustCompile("(?s)```sql\n(.*?)\n *```").FindAllSubmatch(text, -1) {
		for statement := range strings.SplitSeq(strings.TrimSpace(string(block[1])), ";\n") {
			run(t, pool, strings.TrimSuffix(statement, ";"))
			statements++
		}
	}
	if statements < 7 {
		t.Errorf("the documentation has %d statements, want 7 or more", statements)
	}
	connections := "application_name = '" + applicationName + "'"
	if !strings.Contains(string(text), connections) {
		t.Errorf("the documentation does not say %s", connections)
	}
}

// The GRANTs for a table of the sharding system are all that the operator needs, its trigger included.
func TestTheRightsOfTheGuideAreEnough(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	dsn := testenv.Role(t, admin)
	role, _ := names(t, dsn)
	pool := connect(t, admin)
	run(t, pool, plainTable)
	run(t, pool, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
	page, err := os.ReadFile("../../../docs/database.md")
	if err != nil {
		t.Fatal(err)
	}
	granted := 0
	for _, block := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllSubmatch(page, -1) {
		for statement := range strings.Lines(string(block[1])) {
			if strings.HasPrefix(statement, "CREATE ROLE shardinguser ") {
				continue // roles are all databases', and this one has a name of its own
			}
			run(t, pool, strings.Replace(statement, " TO shardinguser;", " TO "+role+";", 1))
			granted++
		}
	}
	if granted < 2 {
		t.Fatalf("docs/database.md has %d GRANTs: are they still read right?", granted)
	}
	s := ready(t, quick(dsn))
	if _, err := s.Apply(t.Context(), creation("alice")); err != nil {
		t.Error(err)
	}
	if there := value[bool](t, pool, "SELECT count(*) > 0 FROM pg_trigger WHERE tgrelid = 'users'::regclass AND NOT tgisinternal"); !there {
		t.Error("there is no trigger: changes would be polled for")
	}
}
