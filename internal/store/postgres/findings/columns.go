// SPDX-License-Identifier: Apache-2.0

package findings

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
)

// column is a column of the table users, as the catalog has it.
type column struct {
	name           string
	kind           string // of the base type; "" for one that is not built in
	modifier       int    // of the type; -1 for none
	shown          string // the type as format_type writes it
	isNotNull      bool
	hasDefault     bool
	isGenerated    bool
	isDomain       bool
	isByteByByte   bool // its collation distinguishes any two texts
	isBuiltIn      bool
	declaredLength int // of a text; 0 for any
}

func columnOf(f Fact) column {
	c := column{
		name: f.Name, kind: f.Details[0], isBuiltIn: f.is(1), shown: f.Details[3], isNotNull: f.is(4), hasDefault: f.is(5),
		isGenerated: f.is(6), isDomain: f.is(7), isByteByByte: f.is(8),
	}
	c.modifier, _ = strconv.Atoi(f.Details[2]) // the server wrote it
	if !c.isBuiltIn {
		c.kind = ""
	}
	if c.modifier >= 4 && (c.kind == "varchar" || c.kind == "bpchar") {
		c.declaredLength = c.modifier - 4
	}
	return c
}

// hashLength is the length of a bcrypt hash.
const hashLength = 60

// written are the columns that an INSERT names.
var written = []string{"username", "password_hash", "roles", "active", "created_at", "updated_at"}

// used are all columns that a statement names.
var used = append(slices.Clone(written), "last_login_at", "failed_login_attempts", "locked_until")

// types are the supported types of each column.
var types = map[string][]string{
	"username":              {"varchar", "text"},
	"password_hash":         {"varchar", "text"},
	"roles":                 {"jsonb", "json", "text", "varchar"},
	"active":                {"bool"},
	"created_at":            {"timestamp", "timestamptz"},
	"updated_at":            {"timestamp", "timestamptz"},
	"last_login_at":         {"timestamp", "timestamptz"},
	"locked_until":          {"timestamp", "timestamptz"},
	"failed_login_attempts": {"int2", "int4", "int8"},
}

func describeColumns(c catalog) (found []store.Finding) {
	there := map[string]bool{}
	for _, f := range c["column"] {
		column := columnOf(f)
		there[column.name] = true
		add := func(kind, consequence string) {
			if consequence != "" {
				found = append(found, store.Finding{Kind: kind, Object: schema.Ident(column.name), Consequence: consequence})
			}
		}
		add(store.FindingNotNullColumn, column.notNull())
		if !slices.Contains(used, column.name) {
			continue
		}
		add(store.FindingColumnType, column.wrongType())
		add(store.FindingGeneratedColumn, column.generated())
		add(store.FindingDomain, column.domain())
		add(store.FindingCollation, column.collation())
	}
	for _, name := range used {
		if !there[name] {
			found = append(found, store.Finding{
				Kind: store.FindingMissingColumn, Object: schema.Ident(name),
				Consequence: "The column does not exist, so statements that name it fail; add it to the table.",
			})
		}
	}
	return found
}

// wrongType returns the consequence of the column's type; "" where the type fits.
func (c column) wrongType() string {
	switch {
	case c.kind == "bpchar":
		return fmt.Sprintf("The type %s pads values with blanks, so they are read back changed; change the type to text.", c.shown)
	case !slices.Contains(types[c.name], c.kind):
		return fmt.Sprintf("The type %s does not fit, so statements fail or the value is read back changed; change the type to %s.",
			c.shown, strings.Join(types[c.name], " or "))
	case c.name == "password_hash" && c.declaredLength > 0 && c.declaredLength < hashLength:
		return fmt.Sprintf("The type %s is too short for a bcrypt hash of %d characters; change the type to text.", c.shown, hashLength)
	case c.name == "username" && c.declaredLength > 0 && c.declaredLength < store.MaxUsername:
		return fmt.Sprintf("The type %s refuses usernames that a ShardingUser may have, which are up to %d characters long; change the type to text.",
			c.shown, store.MaxUsername)
	case c.name == "roles" && c.declaredLength > 0:
		return fmt.Sprintf("The type %s refuses a list of roles that is longer; change the type to jsonb.", c.shown)
	case c.name == "failed_login_attempts" && c.kind == "int2":
		return "The type smallint ends at 32767, and a counter beyond it makes logins fail; change the type to integer."
	case c.name == "locked_until" && c.modifier >= 0 && c.modifier < 6:
		return fmt.Sprintf("The type %s rounds times, so a lock ends earlier or later than it should; change the type to timestamp.", c.shown)
	}
	return ""
}

// notNull returns the consequence of a column without NULL; "" where there is none.
func (c column) notNull() string {
	switch {
	case !c.isNotNull:
		return ""
	case c.name == "locked_until":
		return "The column is NOT NULL, so no account can be unlocked or created without a lock; drop the constraint."
	case !c.hasDefault && !c.isGenerated && !slices.Contains(written, c.name):
		return "The column is NOT NULL and has no default, so no row can be created unless a trigger fills it; give it a default."
	}
	return ""
}

func (c column) generated() string {
	if !c.isGenerated {
		return ""
	}
	return "The database generates the value and refuses any other, so writes of the column fail; make it an ordinary column."
}

func (c column) domain() string {
	if !c.isDomain {
		return ""
	}
	return fmt.Sprintf("The domain %s may refuse or change a value; a ShardingUser whose value it refuses stays not ready.", c.shown)
}

func (c column) collation() string {
	if c.name != "username" || c.isByteByByte {
		return ""
	}
	return "The collation is nondeterministic, so usernames that differ by case or accent are the same account; use a deterministic collation."
}
