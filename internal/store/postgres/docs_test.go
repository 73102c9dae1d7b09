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
	dsn := testenv.Database(t)
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
