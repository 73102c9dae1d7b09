// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"errors"
	"net/http"
	"regexp"

	"k8s.io/client-go/rest"

	"github.com/sharding-system/shardinguser-operator/internal/controller/rows"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// next has the operator of the story that is started next go through the faults.
func (f *faults) next(s *story) *process {
	p := &process{faults: f}
	s.wrap = func(accounts rows.Store) rows.Store {
		return &faultyAccounts{accounts: accounts, process: p}
	}
	s.reach = func(config *rest.Config) {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) { return p.roundTrip(next, r) })
		})
	}
	return p
}

// aboutOne is a request about one resource, its status or one Secret.
var aboutOne = regexp.MustCompile(`/namespaces/[^/]+/((shardinguser|secret)s)/([^/]+)(/status)?$`)

func (p *process) roundTrip(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	m := aboutOne.FindStringSubmatch(r.URL.Path)
	if m == nil {
		return next.RoundTrip(r) // nobody's: a watch, say
	}
	var response *http.Response
	err := p.call(r.Context(), r.Method+" "+m[1]+m[4], m[3], "", func() (err error) {
		response, err = next.RoundTrip(r) //nolint:bodyclose // closed below, or by who asked
		return err
	})
	if err != nil && response != nil {
		_ = response.Body.Close()
	}
	if err != nil {
		return nil, err
	}
	return response, nil
}

// faultyAccounts is a store behind faults. A failure is that of an unavailable database: it does not show whether the change
// was made.
type faultyAccounts struct {
	accounts rows.Store
	process  *process
}

func (a *faultyAccounts) Observe(ctx context.Context, username string) (observed user.Observed, err error) {
	err = a.process.call(ctx, "observe", username, "", func() (err error) {
		observed, err = a.accounts.Observe(ctx, username)
		return err
	})
	return observed, unavailable(err)
}

func (a *faultyAccounts) Apply(ctx context.Context, change user.Change) (after user.Observed, err error) {
	hash := ""
	if change.Password != nil && change.Password.New {
		hash = change.Password.Hash
	}
	err = a.process.call(ctx, "apply "+string(change.Verb), change.Username, hash, func() (err error) {
		after, err = a.accounts.Apply(ctx, change)
		return err
	})
	return after, unavailable(err)
}

// faultyAttempts is the login side's store behind faults. Overtaken calls may take longer than the login side waits.
type faultyAttempts struct {
	attempts attempts
	process  *process
}

func (a *faultyAttempts) Charge(ctx context.Context, attempt store.Attempt, limits store.Limits) (charged store.Charge, err error) {
	ctx = context.WithoutCancel(ctx)
	err = a.process.call(ctx, callCharge, attempt.Username, "", func() (err error) {
		charged, err = a.attempts.Charge(ctx, attempt, limits)
		return err
	})
	return charged, unavailable(err)
}

func (a *faultyAttempts) Settle(ctx context.Context, charged store.Charge, success bool) (accepted bool, err error) {
	ctx = context.WithoutCancel(ctx)
	err = a.process.call(ctx, callSettle, charged.Username, "", func() (err error) {
		accepted, err = a.attempts.Settle(ctx, charged, success)
		return err
	})
	return accepted, unavailable(err)
}

func unavailable(err error) error {
	if errors.Is(err, errFault) {
		return &store.UnavailableError{Sentence: "This failure is made up for a test.", Err: err}
	}
	return err
}
