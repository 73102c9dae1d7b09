// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

// A DSN says where a database is and how to log in there, as a URL or in
// keyword form. However it is printed or encoded, its secrets are masked, see
// [Mask]; string(dsn) is the DSN itself.
type DSN string

// String returns the DSN masked.
func (d DSN) String() string { return Mask(string(d)) }

// Format writes the DSN masked, whatever the verb: %x and %d would show it.
func (d DSN) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, d.String()) }

// MarshalText returns the DSN masked, for encoders of logs and settings.
func (d DSN) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Variable is the environment variable of the DSN. It has no prefix of the operator: the sharding system's programs read it too.
const Variable = "USER_DATABASE_DSN"

// ReadFile returns the DSN that the file at path holds, less the white space
// around it. It is an error when the file cannot be read, is empty or holds no
// DSN that pgx understands. The error quotes nothing of the file.
func ReadFile(path string) (DSN, error) {
	b, err := os.ReadFile(path) //nolint:gosec // The path is the operator's own setting.
	switch {
	case err != nil && MayBe(path): // and the error would quote it
		return "", errors.New("the value is a DSN; set the path of a file that contains it")
	case err != nil:
		return "", fmt.Errorf("cannot read the DSN file %s: %w", path, cause(err))
	}
	d := DSN(strings.TrimSpace(string(b)))
	if d == "" {
		return "", fmt.Errorf("the DSN file %s is empty: write a DSN such as %s into it", path, exampleURL)
	}
	if err := d.Check(); err != nil {
		return "", fmt.Errorf("the DSN file %s: %w", path, err)
	}
	return d, nil
}

// FromEnvironment returns the DSN of the environment variable [Variable], empty where it is not set. With an error it returns the
// DSN that cannot be used.
func FromEnvironment() (DSN, error) {
	d := DSN(strings.TrimSpace(os.Getenv(Variable)))
	if d == "" {
		return "", nil
	}
	if err := d.Check(); err != nil {
		return d, fmt.Errorf("environment variable %s: %w", Variable, err)
	}
	return d, nil
}

// Find returns the DSN in the file at path or, where path is empty, that of the environment. It is empty where there is neither.
func Find(path string) (DSN, error) {
	if path != "" {
		return ReadFile(path)
	}
	d, err := FromEnvironment()
	if err != nil {
		return "", err
	}
	return d, nil
}

// Check returns an error if d cannot be used, see [Parse].
func (d DSN) Check() error {
	_, err := Parse(string(d))
	return err
}

// cause is what is wrong with a file, without the path that the error names
// already.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

var secretLike = regexp.MustCompile(`(?is)://|(password|passwd|pwd)\s*=|:.*@`)

// MayBe reports whether value may be a DSN, given where a path or the like belongs. Then no message may quote it.
func MayBe(value string) bool { return secretLike.MatchString(value) }
