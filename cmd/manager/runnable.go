// SPDX-License-Identifier: Apache-2.0

package main

import "context"

// everyReplica is a part of the manager that runs whether or not the replica leads.
type everyReplica func(context.Context) error

// Start implements manager.Runnable.
func (f everyReplica) Start(ctx context.Context) error { return f(ctx) }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (everyReplica) NeedLeaderElection() bool { return false }
