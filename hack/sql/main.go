// SPDX-License-Identifier: Apache-2.0

// Command sql copies statements of internal/store/postgres/schema into the scripts of config/database, which must work without the
// repository. It replaces the text between two comments, the first of which names the source.
//
//	go run ./hack/sql config/database/roles.sql config/database/sharding-manager.sql
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// generated matches a copy with the line before, which names the source, and the line after.
var generated = regexp.MustCompile(`(?ms)^-- Generated from (\S+): begin\n(.*?)^-- Generated: end\n`)

func main() {
	for _, script := range os.Args[1:] {
		if err := generate(script); err != nil {
			fmt.Fprintf(os.Stderr, "generate %s: %v\n", script, err)
			os.Exit(1)
		}
	}
}

// generate updates the copies in a script.
func generate(script string) error {
	before, err := os.ReadFile(script)
	if err != nil {
		return err
	}
	found := generated.FindAllSubmatchIndex(before, -1)
	if len(found) == 0 {
		return errors.New("it has no generated part")
	}
	var after bytes.Buffer
	rest := 0
	for _, at := range found {
		part, err := read(string(before[at[2]:at[3]]))
		if err != nil {
			return err
		}
		after.Write(before[rest:at[4]])
		after.WriteString(part)
		rest = at[5]
	}
	after.Write(before[rest:])
	return os.WriteFile(script, after.Bytes(), 0o644)
}

// columns matches the columns of the table users in its migration.
var columns = regexp.MustCompile(`(?ms)^ *CREATE TABLE users \(\n(.*?)^ *\);`)

// read returns the statement of a source without its leading comments, or the columns of the table users from a migration.
func read(source string) (string, error) {
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	if !strings.Contains(source, "/migrations/") {
		_, statement, _ := strings.Cut(string(text), "\n\nDO ")
		return "DO " + statement, nil
	}
	found := columns.FindSubmatch(text)
	if found == nil {
		return "", fmt.Errorf("%s does not create the table users", source)
	}
	return regexp.MustCompile(`(?m)^ +`).ReplaceAllString(string(found[1]), "    "), nil
}
