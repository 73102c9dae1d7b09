// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"
)

func TestASettingsFileThatCanBeReadInTwoWaysEndsTheStart(t *testing.T) {
	for name, tt := range map[string]struct{ file, says string }{
		"a section twice in YAML":               {"operator: {bcrypt-cost: 12}\noperator:\n  bcrypt-cost: 13\n", "line 2: duplicate key operator, first in line 1"},
		"a section twice in JSON":               {"{\n\t\"operator\": {},\n\t\"operator\": {\"bcrypt-cost\": 13}\n}", "line 3: duplicate key operator, first in line 2"},
		"a section twice, once with escapes":    {`{"operator": {}, "oper\u0061tor": {}}`, "duplicate key operator, first in line 1"},
		"a section twice, once in quotes":       {"operator: {}\n'operator': {}\n", "line 2: duplicate key operator"},
		"a section twice, once empty":           {"operator: {bcrypt-cost: 12}\noperator:\n", "line 2: duplicate key operator"},
		"another program's section twice":       {"server: {}\n" + canary + ": 1\n" + canary + ": 2\n", "line 3: duplicate key, first in line 2"},
		"a setting twice in YAML":               {"operator:\n  bcrypt-cost: 12\n  bcrypt-cost: 13\n", "line 3: duplicate key operator.bcrypt-cost, first in line 2"},
		"a setting twice in JSON":               {"{\"operator\": {\n\"bcrypt-cost\": 12,\n\"bcrypt-cost\": 13}}", "line 3: duplicate key operator.bcrypt-cost, first in line 2"},
		"a setting twice behind an anchor":      {"x: &a\n  bcrypt-cost: 12\n  bcrypt-cost: 13\noperator: *a\n", "line 3: duplicate key operator.bcrypt-cost, first in line 2"},
		"two merge keys":                        {"a: &a {bcrypt-cost: 12}\nb: &b {bcrypt-cost: 13}\noperator:\n  <<: *a\n  <<: *b\n", "line 5: duplicate key, first in line 4"},
		"the DSN twice":                         {"security:\n  user_database_dsn: 'host=a'\n  user_database_dsn: '" + goodDSN + "'\n", "line 3: duplicate key security.user_database_dsn, first in line 2"},
		"the manager's key of security twice":   {"security:\n  jwt_secret: " + canary + "\n  jwt_secret: x\n", "line 3: duplicate key, first in line 2"},
		"a DSN for a key, twice":                {"security:\n  '" + goodDSN + "': 1\n  '" + goodDSN + "': 2\n", "line 3: duplicate key, first in line 2"},
		"a section in capitals":                 {"Operator: {bcrypt-cost: 12}\n", "line 1: the key is misspelled; write operator"},
		"a section in two spellings":            {"{\"security\": {},\n\"SECURITY\": {\"user_database_dsn\": \"" + goodDSN + "\"}}", "line 2: the key is misspelled; write security"},
		"a section in letters of Unicode":       {"ſecurity: {user_database_dsn: 'host=a'}\n", "the key is misspelled; write security"},
		"the DSN's key in capitals":             {"security:\n  USER_DATABASE_DSN: '" + goodDSN + "'\n", "line 2: the key is misspelled; write security.user_database_dsn"},
		"the DSN's key with dashes":             {"security:\n  user-database-dsn: '" + goodDSN + "'\n", "line 2: the key is misspelled; write security.user_database_dsn"},
		"the DSN's key as JavaScript has it":    {"security:\n  userDatabaseDsn: '" + goodDSN + "'\n", "line 2: the key is misspelled; write security.user_database_dsn"},
		"the DSN outside of its section":        {"a: 1\nuser_database_dsn: '" + goodDSN + "'\n", "line 2: the DSN is not in its section; write it as security.user_database_dsn"},
		"a setting in capitals":                 {"operator: {Bcrypt-Cost: 12}\n", "operator.Bcrypt-Cost in configs/manager.json: no such setting; did you mean bcrypt-cost?"},
		"a setting with underscores":            {"operator: {bcrypt_cost: 12}\n", "no such setting; did you mean bcrypt-cost?"},
		"a setting brought by a merge, unknown": {"a: &a {Bcrypt-cost: 12}\noperator: {<<: *a}\n", "did you mean bcrypt-cost?"},
		"a second document of YAML":             {"operator: {bcrypt-cost: 12}\n---\noperator: {bcrypt-cost: 13}\n", "a second document begins there"},
		"a second document after JSON":          {"{\"operator\": {}}\n---\n{\"operator\": {\"bcrypt-cost\": 13}}\n", "a second document begins there"},
		"a document after an empty one":         {"---\n---\noperator: {bcrypt-cost: 13}\n", "a second document begins there"},
		"a second object of JSON":               {"{\"operator\": {}}\n{\"operator\": {\"bcrypt-cost\": 13}}\n", "line 2: unexpected text after the JSON object"},
		"text after the object":                 {"{\"operator\": {}}\n\n" + canary + "\n", "line 3: unexpected text after the JSON object"},
		"a brace too many":                      {"{\"operator\": {}}}", "line 1: unexpected text after"},
		"text after the document's end":         {"operator: {}\n...\n- [" + canary, "neither JSON nor YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := world{files: map[string]string{defaultConfigFile: tt.file}}.load(t)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Load = %v\nwhich does not say %q", err, tt.says)
			}
			if err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("the error quotes a secret: %v", err)
			}
		})
	}
}

func TestASettingsFileThatCanBeReadInOneWayIsTaken(t *testing.T) {
	for name, file := range map[string]string{
		"with a byte order mark, in YAML":              "\ufeffoperator: {bcrypt-cost: 12}\n",
		"with a byte order mark, in JSON with tabs":    "\ufeff{\n\t\"operator\": {\"bcrypt-cost\": 12}\n}",
		"with the mark of a document before":           "---\noperator: {bcrypt-cost: 12}\n",
		"with the mark of a document behind":           "operator: {bcrypt-cost: 12}\n---\n",
		"with the end of a document":                   "operator: {bcrypt-cost: 12}\n...\n# end\n",
		"JSON with a comment":                          "{\"operator\": {\"bcrypt-cost\": 12}} # ours\n",
		"with a merge key that the file wins over":     "a: &a {bcrypt-cost: 11, hash-cores: 1}\noperator:\n  <<: *a\n  bcrypt-cost: 12\n",
		"with a list of merged maps":                   "a: &a {bcrypt-cost: 12}\nb: &b {hash-cores: 1}\noperator: {<<: [*a, *b]}\n",
		"with one key in two sections":                 "server: {x: 1, y: 1}\nother: {x: 1}\noperator: {bcrypt-cost: 12}\n",
		"with duplicates in another program's section": "server: {x: 1, x: 2}\noperator: {bcrypt-cost: 12}\n",
		"with another program's keys in two cases":     "server: {}\nServer: {}\nsecurity: {a: 1, A: 2}\noperator: {bcrypt-cost: 12}\n",
		"with duplicates in another section of JSON":   `{"server": {"x": 1, "x": 2}, "operator": {"bcrypt-cost": 12}}`,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := world{files: map[string]string{defaultConfigFile: file}}.load(t)
			if err != nil || got.BcryptCost != 12 {
				t.Errorf("BcryptCost = %d, %v, want 12", got.BcryptCost, err)
			}
		})
	}
}
