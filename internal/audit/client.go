// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// maxPage is the largest body of a page, in bytes.
const maxPage = 64 << 20

// Client reads the trail from a server. HTTP authenticates the requests.
type Client struct {
	HTTP *http.Client
	URL  string // of the server, without a path
}

// Errors of a Client, for errors.Is.
var (
	ErrUnauthenticated = errors.New("the operator cannot authenticate the request")
	ErrForbidden       = errors.New("the audit trail is not for you")
	ErrNotServed       = errors.New("the server has no audit trail: the operator is older than this program")
)

// ReadAttempts reads login attempts page by page, the latest first.
func (c *Client) ReadAttempts(ctx context.Context, trail store.Trail) ([]Attempt, error) {
	values := parameters(trail.Username, trail.Since.String(), int64(trail.Since), "outcome", trail.Outcomes)
	return collect(trail.Limit, trail.Before, func(limit int, before int64) ([]Attempt, int64, error) {
		var page Attempts
		err := c.get(ctx, AttemptsPath, paged(values, limit, before), &page)
		return page.Items, page.Next, err
	})
}

// Changes reads changes page by page, the latest first.
func (c *Client) Changes(ctx context.Context, query store.ChangeQuery) ([]Change, error) {
	values := parameters(query.Username, query.Since.String(), int64(query.Since), "action", query.Actions)
	return collect(query.Limit, query.Before, func(limit int, before int64) ([]Change, int64, error) {
		var page Changes
		err := c.get(ctx, ChangesPath, paged(values, limit, before), &page)
		return page.Items, page.Next, err
	})
}

// collect reads pages until there are as many items as asked for; 0 is for all.
func collect[T any](most int, before int64, read func(limit int, before int64) ([]T, int64, error)) ([]T, error) {
	var all []T
	for {
		limit := MaxLimit
		if most > 0 {
			limit = min(limit, most-len(all))
		}
		items, next, err := read(limit, before)
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if next == 0 || most > 0 && len(all) >= most {
			return all, nil
		}
		before = next
	}
}

func parameters[K ~string](username, since string, length int64, kind string, kinds []K) url.Values {
	values := url.Values{}
	if username != "" {
		values.Set("username", username)
	}
	if length > 0 {
		values.Set("since", since)
	}
	for _, k := range kinds {
		values.Add(kind, string(k))
	}
	return values
}

func paged(values url.Values, limit int, before int64) url.Values {
	values.Set("limit", strconv.Itoa(limit))
	if before > 0 {
		values.Set("before", strconv.FormatInt(before, 10))
	}
	return values
}

// get reads one page.
func (c *Client) get(ctx context.Context, path string, values url.Values, page any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.URL, "/")+path+"?"+values.Encode(), http.NoBody)
	if err != nil {
		return err
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return fmt.Errorf("read the audit trail: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxPage))
	if err != nil {
		return fmt.Errorf("read the audit trail: %w", err)
	}
	switch response.StatusCode {
	case http.StatusOK:
		if err := json.Unmarshal(body, page); err != nil {
			return fmt.Errorf("the answer about the audit trail is not the operator's: %w", err)
		}
		return nil
	case http.StatusUnauthorized:
		return ErrUnauthenticated
	case http.StatusForbidden:
		return ErrForbidden
	case http.StatusNotFound:
		return ErrNotServed
	}
	var f failure
	if json.Unmarshal(body, &f) == nil && f.Error.Message != "" {
		return errors.New(f.Error.Message)
	}
	return fmt.Errorf("the server of the audit trail answers %s", response.Status)
}
