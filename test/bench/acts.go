// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A row is a measurement that returns one or more lines of the table.
type row struct {
	name    string
	measure func(context.Context, *stage) ([]Result, error)
}

// An act is a series of rows on one stage. The first one creates the users for the others, so it always runs.
type act struct {
	name  string
	users int
	rows  []row
	whole string // the name that selects all of its rows, if set
}

// acts are all acts in the order in which they run.
func acts(size sizes) []act {
	all := []act{
		{name: "plain passwords", users: size.plain[0], rows: []row{
			{"cold", cold},
			{"rotate", rotate},
			{"verify", verify},
			{"login", logIns},
			{"refuse", refuse},
			{"edit", edit}, // the last one: it leaves many users and much work
		}},
		{name: "hashed passwords", users: size.users, rows: []row{
			{"hash", coldHashed},
			{"restart", restart},
			{"lock", lock},
			{"locks", lockAll},
			{"fifth", fifth},
			{"idle", idle},
			{"memory", memory}, // the last one: the memory at rest
		}},
		{name: "rows that nobody owns", rows: []row{{"unowned", unowned}}},
		{name: "scale", users: size.scale, whole: "scale", rows: []row{
			{"hash", coldShared},
			{"restart", restart},
			{"memory", memory},
			{"lock", lock},
			{"locks", lockAll},
		}},
	}
	for _, users := range size.plain[1:] {
		all = append(all, act{name: "more plain passwords", users: users, rows: []row{{"cold", cold}}})
	}
	return all
}

// rowNames returns the names of all rows.
func rowNames() (all []string) {
	for _, a := range acts(sizes{plain: []int{0}}) {
		for _, r := range a.rows {
			all = append(all, a.nameOf(r))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (a act) nameOf(r row) string {
	if a.whole != "" {
		return a.whole
	}
	return r.name
}

// has reports whether the act contains one of the selected rows.
func (a act) has(asked []string) bool {
	return slices.ContainsFunc(a.rows, func(r row) bool { return slices.Contains(asked, a.nameOf(r)) })
}

// play runs the selected rows and returns the results, also after a failure.
func (a act) play(ctx context.Context, size sizes, asked []string, say func(string, ...any)) (results []Result, err error) {
	say("%s: starting the servers", a.name)
	s, err := newStage(ctx, size, a.users, say)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	for i, r := range a.rows {
		wanted := slices.Contains(asked, a.nameOf(r))
		if i > 0 && !wanted {
			continue
		}
		begun := time.Now()
		say("%s: %s", a.name, r.name)
		s.row = strings.TrimPrefix(a.whole+"-"+r.name, "-")
		measured, err := r.measure(ctx, s)
		s.profiling.Wait()
		for _, result := range measured {
			result.Row = a.nameOf(row{name: result.Row})
			say("%s (%.1f s)", result.line(), time.Since(begun).Seconds())
			if wanted {
				results = append(results, result)
			}
		}
		if err != nil {
			return results, s.told(fmt.Errorf("%s: %w", r.name, err))
		}
	}
	return results, nil
}

// told adds the last log lines of the manager to an error.
func (s *stage) told(err error) error {
	if s.manager == nil {
		return err
	}
	return fmt.Errorf("%w; the manager said last:\n%s", err, s.manager.Tail())
}
