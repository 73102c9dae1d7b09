// SPDX-License-Identifier: Apache-2.0

// Package audit serves the audit trail: login attempts, and changes of accounts. It leaves to the caller who may read it. The types
// are also those of the client in the kubectl plugin.
//
//	GET /audit/attempts?username=alice&since=24h&outcome=failed,locked&limit=100&before=4711
//	GET /audit/changes?username=alice&since=24h&action=roles&limit=100&before=4711
//
// Lists are the latest first. A full page names the value of before that selects the next one.
package audit

import (
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// The paths, which a ClusterRole names as nonResourceURLs.
const (
	AttemptsPath = "/audit/attempts"
	ChangesPath  = "/audit/changes"
)

// DefaultLimit and MaxLimit are how many entries a page has.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// Attempts is a page of login attempts.
type Attempts struct {
	Items []Attempt `json:"items"`
	Next  int64     `json:"next,omitempty"` // the value of before for the next page; 0 on the last one
}

// Attempt is one row of the trail. One with an empty username stands for several rejected attempts.
type Attempt struct {
	ID        int64         `json:"id"`
	Time      time.Time     `json:"time"`
	Username  string        `json:"username"`
	Outcome   store.Outcome `json:"outcome"`
	Source    string        `json:"source"`
	UserAgent string        `json:"userAgent"`
	Attempts  int           `json:"attempts"`
}

// Changes is a page of changes.
type Changes struct {
	Items []Change `json:"items"`
	Next  int64    `json:"next,omitempty"` // the value of before for the next page; 0 on the last one
}

// Change is a change of an account. Values of null mean that there was no row.
type Change struct {
	ID              int64       `json:"id"`
	Time            time.Time   `json:"time"`
	Username        string      `json:"username"`
	Action          user.Action `json:"action"`
	OldRoles        []string    `json:"oldRoles"`
	NewRoles        []string    `json:"newRoles"`
	OldActive       *bool       `json:"oldActive"`
	NewActive       *bool       `json:"newActive"`
	PasswordChanged bool        `json:"passwordChanged"`
	Resource        Resource    `json:"resource"`
	Manager         string      `json:"manager"`
	Reason          string      `json:"reason"`
}

// Resource is the ShardingUser of a change.
type Resource struct {
	Cluster    string `json:"cluster"`
	System     string `json:"system"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
	UID        string `json:"uid"`
	Generation int64  `json:"generation"`
}

// AttemptsOf returns records as they are served.
func AttemptsOf(records []store.CountedRecord) []Attempt {
	items := make([]Attempt, 0, len(records))
	for _, r := range records {
		items = append(items, Attempt{r.ID, r.Time.UTC(), r.Username, r.Outcome, r.Source, r.UserAgent, r.Attempts})
	}
	return items
}

// ChangesOf returns changes as they are served.
func ChangesOf(changes []store.AccountChange) []Change {
	items := make([]Change, 0, len(changes))
	for _, c := range changes {
		items = append(items, Change{
			ID: c.ID, Time: c.Time.UTC(), Username: c.Username, Action: c.Action,
			OldRoles: c.OldRoles, NewRoles: c.NewRoles, OldActive: c.OldActive, NewActive: c.NewActive,
			PasswordChanged: c.PasswordChanged,
			Resource: Resource{
				Cluster: c.Owner.Cluster, System: c.Owner.System, Namespace: c.Owner.Namespace, Name: c.Owner.Name, UID: c.Owner.UID,
				Generation: c.Generation,
			},
			Manager: c.Manager, Reason: c.Reason,
		})
	}
	return items
}
