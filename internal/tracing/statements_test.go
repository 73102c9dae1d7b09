// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func TestSpansHaveTheKindOfAnErrorButNotItsText(t *testing.T) {
	const secret = "cAnAry"
	refused := &pgconn.PgError{
		Severity: "ERROR", Code: "P0001", Message: secret + " may not log in", Detail: secret, Hint: secret, Where: secret,
	}
	for name, c := range map[string]struct {
		err  error
		says string
	}{
		"a trigger that quotes a value": {fmt.Errorf("charge %s: %w", secret, refused), "P0001"},
		"a driver that quotes the DSN":  {fmt.Errorf("connect to user=%s: %w", secret, errors.ErrUnsupported), "wrapError"},
		"an ended context":              {fmt.Errorf("%s: %w", secret, context.DeadlineExceeded), "deadline exceeded"},
		"a missing row (no error)":      {pgx.ErrNoRows, "no rows"},
	} {
		t.Run(name, func(t *testing.T) {
			told := bare(c.err)
			if text := fmt.Sprintf("%v %+v", told, told); strings.Contains(text, secret) || !strings.Contains(text, c.says) {
				t.Errorf("the span says %q", text)
			}
		})
	}
	if bare(nil) != nil {
		t.Error("a call that succeeded failed")
	}
}
