// SPDX-License-Identifier: Apache-2.0

//go:build cheaphashes

package main

import (
	"github.com/go-logr/logr"

	"github.com/sharding-system/shardinguser-operator/internal/config"
	"github.com/sharding-system/shardinguser-operator/internal/password"
)

// hasherOf is for short test runs. A cost above the lowest setting is kept: tests of the cost set one.
func hasherOf(settings config.Settings, log logr.Logger) *password.Hasher {
	if settings.BcryptCost > password.MinCost {
		return password.NewHasher(settings.BcryptCost, settings.HashCores)
	}
	log.Info("Built for tests: password hashes have the lowest cost of bcrypt and protect nothing")
	return password.NewTestHasher(settings.HashCores)
}
