// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres"
)

// storeSettings are those of a store that looks over the whole table once an hour only: what a story waits for has to come by an
// event. It opens few connections, each of which costs the server more than most stories' statements do.
func storeSettings(dsn string) postgres.Settings {
	return postgres.Settings{
		DSN:            func() (string, error) { return dsn, nil },
		ResyncInterval: time.Hour,
		PollInterval:   time.Hour,
		MinIdleConns:   -1,
		MaxConns:       5,
	}
}

// wholePool is a setting of stories whose operator needs as many connections as in production.
func wholePool(settings *postgres.Settings) { settings.MaxConns = 0 }

// openStore opens the real store, and keeps it usable.
func openStore(t *testing.T, dsn string, edits ...func(*postgres.Settings)) (*postgres.Store, func()) {
	t.Helper()
	settings := storeSettings(dsn)
	for _, change := range edits {
		change(&settings)
	}
	accounts, err := postgres.Open(settings)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var upkeep sync.WaitGroup
	upkeep.Go(func() { _ = accounts.Maintain(ctx) })
	// The tables are there before anything is told about them.
	gomega.NewWithT(t).Eventually(func() error {
		_, err := accounts.Observe(ctx, "nobody")
		return err
	}).WithTimeout(soon).WithPolling(poll).Should(gomega.Succeed())
	return accounts, sync.OnceFunc(func() {
		cancel()
		upkeep.Wait()
		accounts.Close()
	})
}
